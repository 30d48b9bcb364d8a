"""Number types and memory layout of training and inference, checked against the device."""

import torch
from detectron2.config import CfgNode
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.backbone import FPN, Backbone
from torch import nn
from torch.nn import functional as F

from clsa_search.errors import InputError
from clsa_search.modeling import PersonSearchRCNN
from clsa_search.modeling.batched_training import batch_training
from clsa_search.modeling.optimize import optimize_for_inference

HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
DTYPES = {"float32": torch.float32, **HALVES}


def read_amp_dtype(cfg: CfgNode) -> torch.dtype | None:
    """Return the type of convolutions and matrix products in training, SOLVER.AMP.DTYPE.

    Returns:
        None without AMP.

    Raises:
        InputError: there is no such type, or the device does not support it.
    """
    name = cfg.SOLVER.AMP.DTYPE
    if name not in HALVES:
        raise InputError(f"SOLVER.AMP.DTYPE is {name!r}; expected one of {', '.join(HALVES)}")
    if not cfg.SOLVER.AMP.ENABLED:
        return None
    other = f"{' or '.join(HALVES.keys() - {name})}, or SOLVER.AMP.ENABLED False"
    _check_device(cfg.MODEL.DEVICE, "SOLVER.AMP.DTYPE", name, other)
    return HALVES[name]


def prepare_for_training(model: PersonSearchRCNN, cfg: CfgNode) -> None:
    """Make the training of a model fast on its device, in place.

    Weights are channels-last where this is faster: on a CPU or in half precision. On a GPU the
    detector samples all images of a batch at once.

    Args:
        model: model on MODEL.DEVICE.
        cfg: config of the model and the solver.

    Raises:
        InputError: see :func:`read_amp_dtype`; SOLVER.COMPILE, but nothing can be compiled.
    """
    is_cpu = model.device.type == "cpu"
    if read_amp_dtype(cfg) or is_cpu:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if not is_cpu and isinstance(model, GeneralizedRCNN):
        batch_training(model)
    if cfg.SOLVER.COMPILE:
        _compile_backbones(model, cfg)


def prepare_for_inference(model: nn.Module, cfg: CfgNode) -> None:
    """Optimize a model in place for TEST.DTYPE and TEST.COMPILE, see `optimize_for_inference`.

    Args:
        model: model in evaluation mode, on MODEL.DEVICE.
        cfg: config of the model.

    Raises:
        InputError: the device does not support the type, or the backbone cannot be compiled.
    """
    if cfg.TEST.COMPILE:
        if not hasattr(model.reid_branch, "backbone"):
            raise InputError(
                f"TEST.COMPILE is True, but {cfg.MODEL.REID.NAME} has no backbone to compile; "
                "expected False"
            )
        _check_compiler("TEST.COMPILE", cfg.MODEL.DEVICE)
    dtype = read_test_dtype(cfg)
    if isinstance(model, PersonSearchRCNN):
        optimize_for_inference(model, dtype, compile_backbone=cfg.TEST.COMPILE)


def read_test_dtype(cfg: CfgNode) -> torch.dtype:
    """Return the type of nearly all arithmetic at inference, TEST.DTYPE.

    Raises:
        InputError: there is no such type, or the device does not support it.
    """
    name = cfg.TEST.DTYPE
    if name not in DTYPES:
        raise InputError(f"TEST.DTYPE is {name!r}; expected one of {', '.join(DTYPES)}")
    _check_device(cfg.MODEL.DEVICE, "TEST.DTYPE", name, "float32")
    return DTYPES[name]


def _compile_backbones(model: nn.Module, cfg: CfgNode) -> None:
    """Compile the stages of all backbones, in place, at their first images.

    A backbone without a list of stages is compiled as a whole. A pyramid stays as it is.
    """
    backbones = [x for x in model.modules() if isinstance(x, Backbone) and not isinstance(x, FPN)]
    if not backbones:
        raise InputError("SOLVER.COMPILE is True, but the model has no backbone; expected False")
    _check_compiler("SOLVER.COMPILE", cfg.MODEL.DEVICE)
    for backbone in backbones:
        for stage in getattr(backbone, "stages", [backbone]):
            stage.compile()


def _check_compiler(key: str, device: str) -> None:
    try:
        torch.compile(torch.neg)(torch.ones(2, device=device))
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).splitlines()[:2])
        raise InputError(
            f"{key} is True, but torch cannot compile for {device} here "
            f"({reason}); expected False, or a compiler (g++ for a CPU, triton for a GPU)"
        ) from error


def _check_device(device: str, key: str, name: str, other: str) -> None:
    """Check that convolutions run in a type, also under autocast, as older torch may not."""
    kind, dtype = torch.device(device).type, DTYPES[name]
    image = torch.ones(1, 1, 3, 3, device=device)
    try:
        F.conv2d(image.to(dtype), image.to(dtype))
        with torch.autocast(kind, dtype, enabled=dtype != torch.float32):
            supported = F.conv2d(image, image).dtype == dtype
    except RuntimeError:
        supported = False
    if not supported:
        raise InputError(f"{key} is {name}, but {device} does not support it; expected {other}")
