"""Complete public networks, recognized in a checkpoint: the parts of a searching model."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

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
_Options = ParamSpec("_Options")
_Weights = TypeVar("_Weights")


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
        if isinstance(name, str) and isinstance(value, np.ndarray | torch.Tensor)
    }
    if not tensors:
        raise InputError(f"{path}: holds no tensors; expected the weights of a network")
    check_finite(path, tensors)
    return StateDict(path, tensors, author)


def refuses_damaged(
    read: Callable[Concatenate[str, _Options], _Weights],
) -> Callable[Concatenate[str, _Options], _Weights]:
    """Decorate a reader of a network's file: any error becomes an InputError with the path.

    The names of a file tell its network, but tensors of it may be missing or have another shape.
    """

    @wraps(read)
    def read_or_refuse(path: str, *args: _Options.args, **options: _Options.kwargs) -> _Weights:
        try:
            return read(path, *args, **options)
        except InputError:
            raise
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"{path}: the names of its tensors are known, but not their shapes, or some are "
                f"missing ({type(error).__name__}: {reason}); expected the unchanged file of its "
                "project"
            ) from error

    return read_or_refuse
