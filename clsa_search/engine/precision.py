"""The types and the layout that models compute in, and whether a device can."""

import torch
from detectron2.config import CfgNode
from torch import nn
from torch.nn import functional as F

from clsa_search.errors import InputError

HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
DTYPES = {"float32": torch.float32, **HALVES}


def read_amp_dtype(cfg: CfgNode) -> torch.dtype | None:
    """SOLVER.AMP: the type of the convolutions and matrix products; None without AMP.

    Raises:
        InputError: no such type, or the device cannot compute in it.
    """
    name = cfg.SOLVER.AMP.DTYPE
    if name not in HALVES:
        raise InputError(f"SOLVER.AMP.DTYPE is {name!r}; expected one of {', '.join(HALVES)}")
    if not cfg.SOLVER.AMP.ENABLED:
        return None
    other = f"{' or '.join(HALVES.keys() - {name})}, or SOLVER.AMP.ENABLED False"
    _check_device(cfg.MODEL.DEVICE, "SOLVER.AMP.DTYPE", name, other)
    return HALVES[name]


def arrange_for_training(model: nn.Module, amp_dtype: torch.dtype | None) -> None:
    """Lay out weights channels-last, in place, where a CPU or a half type computes faster so.

    Args:
        model: on its device.
        amp_dtype: see :func:`read_amp_dtype`.
    """
    if amp_dtype or next(model.parameters()).device.type == "cpu":
        model.to(memory_format=torch.channels_last)


def read_test_dtype(cfg: CfgNode) -> torch.dtype:
    """TEST.DTYPE: the type of nearly all arithmetic at inference.

    Raises:
        InputError: no such type, or the device cannot compute in it.
    """
    name = cfg.TEST.DTYPE
    if name not in DTYPES:
        raise InputError(f"TEST.DTYPE is {name!r}; expected one of {', '.join(DTYPES)}")
    _check_device(cfg.MODEL.DEVICE, "TEST.DTYPE", name, "float32")
    return DTYPES[name]


def _check_device(device: str, key: str, name: str, other: str) -> None:
    """Also that autocast gives the type, where an older torch knows it for convolutions only."""
    kind, dtype = torch.device(device).type, DTYPES[name]
    picture = torch.ones(1, 1, 3, 3, device=device)
    try:
        F.conv2d(picture.to(dtype), picture.to(dtype))
        with torch.autocast(kind, dtype, enabled=dtype != torch.float32):
            supported = F.conv2d(picture, picture).dtype == dtype
    except RuntimeError:
        supported = False
    if not supported:
        raise InputError(f"{key} is {name}, in which {device} cannot compute; take {other}")
