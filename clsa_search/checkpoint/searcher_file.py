"""Write a public searching model as a checkpoint of ours, with its config beside it."""

import os
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from clsa_search.atomic_io import replace_file
from clsa_search.checkpoint.public_weights import PublicSearcher, read_state_dict
from clsa_search.checkpoint.search_layouts import find_searcher
from clsa_search.errors import InputError


def read_searcher(path: str) -> PublicSearcher:
    """Read the searching model in a file.

    Raises:
        InputError: the file cannot be read, or holds no such model; see :func:`find_searcher`.
    """
    file = read_state_dict(path)
    searcher = find_searcher(file)
    if searcher is None:
        raise InputError(
            f"{path}: holds no searching model: none of its {len(file.tensors)} tensors "
            f"({', '.join([*file.tensors][:3])} ...) is below roi_heads.embedding_head; expected a "
            "checkpoint of SeqNet or NAE"
        )
    return searcher


def check_filled(searcher: PublicSearcher, cfg: CfgNode) -> None:
    """Check that a config's model has exactly the tensors of a searching model.

    Raises:
        InputError: a tensor is missing, has no place, or has another shape.
    """
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in build_model(cfg).state_dict().items()}
    wrong = [f"{name} is missing" for name in shapes if name not in searcher.tensors]
    wrong += [f"{name} has no place in it" for name in searcher.tensors if name not in shapes]
    wrong += [
        f"{name} has shape {tuple(value.shape)}; expected {tuple(shapes[name])}"
        for name, value in searcher.tensors.items()
        if value.shape != shapes.get(name, value.shape)
    ]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise InputError(f"{searcher.path}: not a complete {searcher.name}: {wrong[0]}{more}")


def save_searcher(searcher: PublicSearcher, config: dict[str, Any], path: str) -> str:
    """Write the checkpoint, then the config with the suffix .yaml, each of them atomically.

    Args:
        searcher: model to write.
        config: values by their keys.
        path: path of the checkpoint, which ends in .pth.

    Returns:
        The path of the config.
    """
    config_file = f"{path.removesuffix('.pth')}.yaml"
    if os.path.exists(config_file):
        os.remove(config_file)  # never the config of other weights
    with replace_file(path) as file:
        torch.save({"model": searcher.tensors}, file)
    nested: dict[str, Any] = {"VERSION": 2}
    for key, value in config.items():
        *parents, name = key.split(".")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = list(value) if isinstance(value, tuple) else value
    with replace_file(config_file) as file:
        file.write(yaml.safe_dump(nested, default_flow_style=None).encode())
    return config_file
