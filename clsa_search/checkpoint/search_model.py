"""A public detector and a public re-ID network as one searching model, with its config."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model

from clsa_search.atomic_io import replace_file
from clsa_search.checkpoint.detector_config import NEEDED_KEYS
from clsa_search.checkpoint.detector_layouts import find_detector, read_detector
from clsa_search.checkpoint.public_weights import (
    UNUSED_SUFFIXES,
    PublicDetector,
    PublicEmbedder,
    PublicWeights,
    StateDict,
    Tensors,
)
from clsa_search.checkpoint.reid_config import EMBEDDER_KEYS
from clsa_search.config import add_clsa_search_config
from clsa_search.config_checks import check_config
from clsa_search.config_values import list_values, set_pairs, set_value
from clsa_search.errors import InputError

VALUES = "config_values"
"""Key of the config values in the checkpoint of a searching model."""


@dataclass(frozen=True)
class SearchModel:
    """A complete model for search.

    Args:
        tensors: every tensor of the model's state dict.
        config: config keys and their values, from its parts and the user.
        files: contents of files to write beside the weights, by their suffix.
    """

    tensors: Tensors
    config: dict[str, Any]
    files: dict[str, bytes]


def join_search_model(parts: Sequence[PublicWeights], opts: Sequence = ()) -> SearchModel:
    """Join a detector and an embedder, or take a searcher alone.

    Args:
        parts: the public networks.
        opts: KEY VALUE pairs; they win over the values of the networks.

    Raises:
        InputError: a key or value is wrong, or the networks do not fill a model exactly.
    """
    cfg = get_cfg()
    add_clsa_search_config(cfg)
    config = {key: value for part in parts for key, value in part.config.items()}
    for key, value in config.items():
        set_value(cfg, key, value)
    set_pairs(cfg, opts)
    check_config(cfg)
    final = dict(list_values(cfg))
    shapes = _read_shapes(cfg)
    for part in parts:
        _check_filled(part, shapes)
    given = {name: value for part in parts for name, value in part.tensors.items()}
    return SearchModel(
        # public files often lack the counts of batches: they have no effect
        tensors={name: given.get(name, torch.tensor(0)) for name in shapes},
        config={key: final[key] for key in [*config, *map(str, opts[::2])]},
        files={suffix: data for part in parts for suffix, data in part.files.items()},
    )


def save_search_model(model: SearchModel, path: str) -> str:
    """Write the checkpoint, and beside it the config with the suffix .yaml and other files.

    A killed process leaves all files, or no config.

    Returns:
        The path of the config.

    Raises:
        InputError: the path does not end in .pth.
    """
    if not path.endswith(".pth"):
        raise InputError(f"output {path!r}: expected a name that ends in .pth")
    stem = path.removesuffix(".pth")
    config_file = f"{stem}.yaml"
    if os.path.exists(config_file):
        os.remove(config_file)  # never the config of other weights
    for suffix, data in model.files.items():
        with replace_file(f"{stem}{suffix}") as file:
            file.write(data)
    with replace_file(path) as file:
        torch.save({"model": model.tensors, VALUES: model.config}, file)
    with replace_file(config_file) as file:
        file.write(_format_config(model.config).encode())
    return config_file


def read_detector_to_train(
    cfg: CfgNode, path: str, *, person_class: int | None = None
) -> PublicDetector:
    """Read a public detector to train a config's model from.

    Args:
        cfg: config of the model.
        path: path of the file.
        person_class: see :func:`.find_detector`.

    Raises:
        InputError: the file holds no complete detector, or the config needs other values for it.
    """
    detector = read_detector(path, person_class=person_class)
    if differing := _find_differences(cfg, detector.config, NEEDED_KEYS):
        wrong = "; ".join(f"{k} {v!r}, not {now!r}" for k, (v, now) in differing.items())
        raise InputError(
            f"{path} ({detector.name}) needs {wrong}. Append it as KEY VALUE to this command and "
            "to the training command, or set it in the config file"
        )
    _check_filled(detector, _read_shapes(cfg))
    return detector


def _find_differences(
    cfg: CfgNode, needed: Mapping[str, Any], keys: Iterable[str]
) -> dict[str, tuple[Any, Any]]:
    """Return the needed and the present value of each different key."""
    values = dict(list_values(cfg))
    return {
        key: (needed[key], values[key])
        for key in keys
        if key in needed and _plain(needed[key]) != _plain(values[key])
    }


def check_values(cfg: CfgNode, path: str, checkpoint: Mapping) -> None:
    """Check that a config has the values that the networks in a checkpoint need.

    Tensors of the same shapes would be loaded, and find other boxes or compute other embeddings. A
    config with another kind of re-ID head takes what fits of a re-ID network, to train from it.

    Args:
        cfg: config of the loading model.
        path: path of the checkpoint.
        checkpoint: its content, with the tensors below "model".

    Raises:
        InputError: a value differs; the message names the file or command to use.
    """
    config, config_file = checkpoint.get(VALUES), f"{path.removesuffix('.pth')}.yaml"
    remedy = f"use the config {config_file}"
    if not os.path.isfile(config_file):
        remedy = "set it, or use the config that the weights were converted for"
    if not isinstance(config, dict):
        tensors = {name: torch.as_tensor(value) for name, value in checkpoint["model"].items()}
        detector = find_detector(StateDict(path, tensors))
        if detector is None:
            return
        config = detector.config
        remedy = f"run: clsa-convert-weights --detector {path} --reid RE-ID-FILE OUTPUT.pth"
    keys, head = list(NEEDED_KEYS), "MODEL.REID.HEAD.NAME"
    if config.get(head) == cfg.MODEL.REID.HEAD.NAME:
        keys += EMBEDDER_KEYS
    for key, (needed, value) in _find_differences(cfg, config, keys).items():
        network = "re-ID network" if key in EMBEDDER_KEYS else "detector"
        raise InputError(
            f"{path}: its {network} needs {key} {needed!r}, but the config has {value!r}; {remedy}"
        )


def _plain(value: Any) -> Any:
    """Return a value with lists in place of tuples, and numbers without the errors of float32."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return round(value, 3) if isinstance(value, float) else value


def _read_shapes(cfg: CfgNode) -> dict[str, torch.Size]:
    """Return the names and shapes of a model for inference."""
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "meta"
    cfg.MODEL.REID.NUM_IDS = 0
    with torch.device("meta"):
        state = build_model(cfg).state_dict()
    return {name: value.shape for name, value in state.items()}


def _check_filled(part: PublicWeights, shapes: dict[str, torch.Size]) -> None:
    """Check that a part has exactly the tensors of its modules in the model."""
    own = {
        name: shape
        for name, shape in shapes.items()
        if _is_part(part, name) and not name.endswith(UNUSED_SUFFIXES)
    }
    wrong = [f"{name} is missing" for name in own if name not in part.tensors]
    wrong += [f"{name} has no place in it" for name in part.tensors if name not in own]
    wrong += [
        f"{name} has shape {tuple(value.shape)}, but {tuple(own[name])} in the model"
        for name, value in part.tensors.items()
        if name in own and value.shape != own[name]
    ]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise InputError(f"{part.path}: not a complete {part.name}: {wrong[0]}{more}")


def _is_part(part: PublicWeights, name: str) -> bool:
    """Return whether a tensor of the model belongs to a kind of network."""
    is_reid = name.startswith("reid_")
    if isinstance(part, PublicDetector):
        return not is_reid
    return is_reid or not isinstance(part, PublicEmbedder)


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
