"""The ResNet in a checkpoint of others, in Detectron2's names."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from detectron2.checkpoint.c2_model_loading import convert_c2_detectron_names

from clsa_search.checkpoint.safe_loading import read_checkpoint
from clsa_search.errors import InputError

CONTAINERS = ("model", "state_dict", "model_state_dict", "model_state", "network", "net", "blobs")
"""Keys under which training codes keep the state dict."""

UNUSED = ("num_batches_tracked", "_momentum")
"""Ends of names of what a network does not compute with."""

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Convention:
    """What a ResNet was trained with that its tensors do not tell.

    `mean` and `std` are of the input's channels in the order of `channels`, for pixels of 0 to 255.
    """

    channels: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    stride_in_1x1: bool


CONVENTIONS = {
    "torchvision": Convention("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), False),
    "msra": Convention("BGR", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0), True),
}
"""torchvision's is that of most re-ID codes too, msra's that of Caffe2's and Detectron2's."""


@dataclass(frozen=True)
class PretrainedResNet:
    """A ResNet in Detectron2's names (stem.conv1.weight, res2.0.conv1.norm.bias, ...), float32.

    `sources` maps these names to those in the file, `left_over` are the file's that are outside of
    the ResNet, `convention` is one of CONVENTIONS or "config", the config's own.
    """

    path: str
    tensors: Tensors
    sources: dict[str, str]
    left_over: list[str]
    convention: str

    @property
    def folded(self) -> bool:
        """Whether its norms are scale and shift alone, statistics of activations worked in."""
        means = (v for k, v in self.tensors.items() if k.endswith(".running_mean"))
        scales = (v for k, v in self.tensors.items() if k.endswith(".norm.weight"))
        # an untrained network has no statistics either, but no scale
        return not any(mean.any() for mean in means) and any((s != 1).any() for s in scales)


def read_resnet(path: str, *, backbone: str, convention: str | None = None) -> PretrainedResNet:
    """The ResNet of a checkpoint file, whatever it is wrapped in and prefixed with.

    Args:
        path: see :func:`read_checkpoint`; in the names of torchvision, Detectron2 or Caffe2.
        backbone: the one that the file's ResNet is meant for, where the file holds several.
        convention: by default what is usual for the file's names.

    Raises:
        InputError: see :func:`read_checkpoint`; the file holds no ResNet, or several.
    """
    loaded = read_checkpoint(path)
    author = str(loaded.get("__author__", ""))
    while inner := [loaded[key] for key in CONTAINERS if isinstance(loaded.get(key), dict)]:
        loaded = inner[0]
    state = {
        name: torch.tensor(value) if isinstance(value, np.ndarray) else value.detach()
        for name, value in loaded.items()
        if isinstance(value, np.ndarray | torch.Tensor) and not name.endswith(UNUSED)
    }
    naming = _find_naming(path, state, author)
    prefix = _find_prefix(path, state, naming.mark, backbone)
    own = {k.removeprefix(prefix): v.float() for k, v in state.items() if k.startswith(prefix)}
    tensors, sources = naming.rename(own)
    return PretrainedResNet(
        path=path,
        tensors=tensors,
        sources={name: prefix + source for name, source in sources.items()},
        left_over=[name for name in state if not name.startswith(prefix)],
        convention=convention or naming.convention,
    )


@dataclass(frozen=True)
class _Naming:
    """A family of names: one that all its ResNets have, how to rename, the usual convention."""

    mark: str
    rename: Callable[[Tensors], tuple[Tensors, dict[str, str]]]
    convention: str


def _from_torchvision(state: Tensors) -> tuple[Tensors, dict[str, str]]:
    sources = {}
    for old in state:
        new = re.sub(r"^(conv1|bn1)\.", r"stem.\1.", old)
        new = re.sub(r"^layer(\d)\.", lambda stage: f"res{int(stage[1]) + 1}.", new)
        new = re.sub(r"\.bn(\d)\.", r".conv\1.norm.", new)
        new = new.replace(".downsample.0.", ".shortcut.")
        sources[new.replace(".downsample.1.", ".shortcut.norm.")] = old
    return {new: state[old] for new, old in sources.items()}, sources


def _from_detectron2(state: Tensors) -> tuple[Tensors, dict[str, str]]:
    return state, {name: name for name in state}


def _find_naming(path: str, state: Tensors, author: str) -> _Naming:
    namings = (
        _Naming("layer1.0.conv1.weight", _from_torchvision, "torchvision"),
        # Detectron2's script for torchvision's models signs what it converts
        _Naming(
            "res2.0.conv1.weight",
            _from_detectron2,
            "torchvision" if author == "torchvision" else "msra",
        ),
        _Naming("res2_0_branch2a_w", convert_c2_detectron_names, "msra"),
    )
    for naming in namings:
        if any(name.endswith(naming.mark) for name in state):
            return naming
    raise InputError(
        f"{path}: holds no ResNet: no name of its {len(state)} tensors ({', '.join([*state][:3])} "
        f"...) ends in {', '.join(naming.mark for naming in namings)}"
    )


def _find_prefix(path: str, state: Tensors, mark: str, backbone: str) -> str:
    prefixes = [name.removesuffix(mark) for name in state if name.endswith(mark)]
    if len(prefixes) > 1:
        prefixes = [prefix for prefix in prefixes if prefix.endswith(f"{backbone}.")] or prefixes
    if len(prefixes) > 1:
        raise InputError(
            f"{path}: holds several ResNets, under {', '.join(prefixes)}; save one of them alone"
        )
    return prefixes[0]
