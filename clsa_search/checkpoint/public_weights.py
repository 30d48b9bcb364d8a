"""Complete public networks, recognized in a checkpoint: the parts of a searching model."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from clsa_search.checkpoint.safe_loading import check_finite, read_checkpoint
from clsa_search.errors import InputError

CONTAINERS = (
    *("model", "state_dict", "model_state_dict", "model_state", "network", "net", "blobs"),
    "teacher",  # of DINO and SOLIDER, beside the student
    "ImgEncoder_state_dict",  # of PLIP, beside the encoder of texts
)
"""Keys of a state dict in the checkpoints of training codes."""

UNUSED_SUFFIXES = ("num_batches_tracked", "_momentum")
"""Ends of the names of tensors without effect on the output of a network."""

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class PublicWeights:
    """A complete network of another project, in the names of our model.

    Args:
        path: path of the file.
        name: name of the network for people, such as "Detectron2 Faster R-CNN R50-FPN".
        tensors: float32 tensors by their full names in PersonSearchRCNN.
        config: config keys, such as "MODEL.RESNETS.DEPTH", and the values for the network.
        report: lines for the user: parts left out, facts missing in the file.
        files: contents of files to write beside the weights, by their suffix.
    """

    path: str
    name: str
    tensors: Tensors
    config: dict[str, Any]
    report: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)


class PublicDetector(PublicWeights):
    """A detector: backbone.*, proposal_generator.* and roi_heads.*."""


class PublicEmbedder(PublicWeights):
    """A re-ID network: reid_branch.* and reid_heads.*."""


class PublicSearcher(PublicWeights):
    """A detecting and embedding model: all tensors of our model."""


@dataclass(frozen=True)
class StateDict:
    """The tensors of a checkpoint, in the names of its project.

    Args:
        path: path of the file.
        tensors: tensors on the CPU in the order of the file, with their types.
        author: the file's `__author__`, or "".
    """

    path: str
    tensors: Tensors
    author: str = ""


def read_state_dict(path: str) -> StateDict:
    """Read the tensors of a checkpoint from any of CONTAINERS.

    Raises:
        InputError: the file cannot be read, or a tensor is not finite; see `read_checkpoint`.
    """
    loaded = read_checkpoint(path)
    author = str(loaded.get("__author__", ""))
    while inner := [loaded[key] for key in CONTAINERS if isinstance(loaded.get(key), dict)]:
        loaded = inner[0]
    tensors = {
        name: torch.tensor(value) if isinstance(value, np.ndarray) else value.detach()
        for name, value in loaded.items()
        if isinstance(value, np.ndarray | torch.Tensor)
    }
    if not tensors:
        raise InputError(f"{path}: holds no tensors; expected the weights of a network")
    check_finite(path, tensors)
    return StateDict(path, tensors, author)
