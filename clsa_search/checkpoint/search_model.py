"""A public detector and a public re-ID network as one searching model, with its config."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model

from clsa_search.atomic_io import replace_file
from clsa_search.checkpoint.detector_config import NEEDED_KEYS
from clsa_search.checkpoint.detector_layouts import find_detector
from clsa_search.checkpoint.public_weights import (
    UNUSED_SUFFIXES,
    PublicDetector,
    PublicEmbedder,
    StateDict,
    Tensors,
)
from clsa_search.config import add_clsa_search_config
from clsa_search.config_checks import check_config
from clsa_search.config_values import list_values, set_pairs, set_value
from clsa_search.errors import InputError

VALUES = "config_values"
"""Key of the config values in the checkpoint of a searching model."""


@dataclass(frozen=True)
class SearchModel:
    """A complete model that searches.

    Args:
        tensors: tensors of PersonSearchRCNN, with every name of its state dict.
        config: config keys and the values that its parts and the user give.
        files: contents of files beside the checkpoint, by their suffix.
    """

    tensors: Tensors
    config: dict[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)


def join_search_model(
    detector: PublicDetector, embedder: PublicEmbedder, opts: Sequence = ()
) -> SearchModel:
    """Join a detector and an embedder.

    Args:
        detector: network that finds people.
        embedder: network that computes their embeddings.
        opts: KEY VALUE pairs that win over the values of the two.

    Raises:
        InputError: a key or value is wrong, or the networks do not fill a model exactly.
    """
    cfg = get_cfg()
    add_clsa_search_config(cfg)
    config = {**detector.config, **embedder.config}
    for key, value in config.items():
        set_value(cfg, key, value)
    set_pairs(cfg, opts)
    check_config(cfg)
    final = dict(list_values(cfg))
    config = {key: final[key] for key in [*config, *map(str, opts[::2])]}
    shapes = _read_state(cfg)
    tensors: Tensors = {}
    for part in (detector, embedder):
        tensors |= part.tensors
        _check_filled(part, shapes)
    return SearchModel(
        {name: tensors.get(name, torch.zeros((), dtype=torch.int64)) for name in shapes},
        config,
        {**detector.files, **embedder.files},
    )


def save_search_model(model: SearchModel, path: str) -> str:
    """Write the checkpoint, its files, and the config beside it with the suffix .yaml.

    A killed process leaves all files, or no config.

    Returns:
        The path of the config.

    Raises:
        InputError: the path does not end in .pth.
    """
    if not path.endswith(".pth"):
        raise InputError(f"output {path!r}: expected a name that ends in .pth")
    config_file = f"{path.removesuffix('.pth')}.yaml"
    if os.path.exists(config_file):
        os.remove(config_file)  # never the config of other weights
    for suffix, data in model.files.items():
        with replace_file(f"{path.removesuffix('.pth')}{suffix}") as file:
            file.write(data)
    with replace_file(path) as file:
        torch.save({"model": model.tensors, VALUES: model.config}, file)
    with replace_file(config_file) as file:
        file.write(_format_config(model.config).encode())
    return config_file


def check_values(cfg: CfgNode, path: str, checkpoint: Mapping) -> None:
    """Check that a config has the values that the detector in a checkpoint needs.

    Tensors of the same shapes would be loaded, and find other boxes.

    Args:
        cfg: config of the model that loads the checkpoint.
        path: path of the checkpoint.
        checkpoint: its content, with the tensors below "model".

    Raises:
        InputError: a value differs; the message names the file or command to use.
    """
    config, remedy = checkpoint.get(VALUES), f"use the config {path.removesuffix('.pth')}.yaml"
    if not isinstance(config, dict):
        tensors = {name: torch.as_tensor(value) for name, value in checkpoint["model"].items()}
        detector = find_detector(StateDict(path, tensors))
        if detector is None:
            return
        config = detector.config
        remedy = f"run: clsa-convert-weights --detector {path} --reid RE-ID-FILE OUTPUT.pth"
    values = dict(list_values(cfg))
    for key in NEEDED_KEYS:
        if key in config and _plain(config[key]) != _plain(values[key]):
            raise InputError(
                f"{path}: its detector needs {key} {config[key]!r}, but the config has "
                f"{values[key]!r}; {remedy}"
            )


def _plain(value: Any) -> Any:
    """Return a value with lists in place of tuples, and numbers without the errors of float32."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return round(value, 3) if isinstance(value, float) else value


def _read_state(cfg: CfgNode) -> dict[str, torch.Size]:
    """Return the names and shapes of a model for inference."""
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "meta"
    cfg.MODEL.REID.NUM_IDS = 0
    with torch.device("meta"):
        state = build_model(cfg).state_dict()
    return {name: value.shape for name, value in state.items()}


def _check_filled(part: PublicDetector | PublicEmbedder, shapes: dict[str, torch.Size]) -> None:
    """Check that a part has exactly the tensors of its modules in the model."""
    is_embedder = isinstance(part, PublicEmbedder)
    own = {
        name: shape
        for name, shape in shapes.items()
        if name.startswith("reid_") == is_embedder and not name.endswith(UNUSED_SUFFIXES)
    }
    wrong = [f"{name} is missing" for name in own if name not in part.tensors]
    wrong += [f"{name} has no place in the model" for name in part.tensors if name not in own]
    wrong += [
        f"{name} has shape {tuple(value.shape)}, but {tuple(own[name])} in the model"
        for name, value in part.tensors.items()
        if name in own and value.shape != own[name]
    ]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise InputError(f"{part.path}: not a complete {part.name}: {wrong[0]}{more}")


def _format_config(config: Mapping[str, Any]) -> str:
    """Return the YAML of config values, nested by their keys."""
    nested: dict = {}
    for key, value in sorted(config.items()):
        *parents, name = key.split(".")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump({**nested, "VERSION": 2}, sort_keys=False, default_flow_style=None)
