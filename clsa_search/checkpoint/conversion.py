"""Pretrained ResNets of others as one checkpoint that fills the backbones of a PersonSearchRCNN.

Detectron2 matches a foreign checkpoint's names to a model's by their ends, which two backbones make
ambiguous; here every tensor gets the full name that it has in the model.
"""

from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from clsa_search.atomic_io import replace_file
from clsa_search.checkpoint.resnet_reader import (
    CONVENTIONS,
    UNUSED,
    Convention,
    PretrainedResNet,
    Tensors,
    read_resnet,
)
from clsa_search.errors import InputError

REID_BACKBONE = "reid_branch.backbone"
BACKBONES = {"backbone.bottom_up": "MODEL.RESNETS", REID_BACKBONE: "MODEL.REID.BACKBONE.RESNETS"}
"""The backbones that a PersonSearchRCNN may have, and the config keys that describe each."""

FIRST = "stem.conv1.weight"


@dataclass
class FilledBackbone:
    """What became of a backbone of the model.

    `tensors` are those that were loaded of the `expected` ones, by their names in the backbone,
    as in `missing` and `other_shape`; `left_over` are names in the file. `adapted` says
    whether the first convolution was changed for the config's input.
    """

    backbone: str
    path: str
    convention: str
    expected: int
    tensors: Tensors = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    other_shape: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    adapted: bool = False


def convert_weights(
    cfg: CfgNode,
    source: str,
    *,
    reid_source: str | None = None,
    convention: str | None = None,
    reid_convention: str | None = None,
    partial: bool = False,
) -> list[FilledBackbone]:
    """Fill the backbones of the model that a config describes.

    The first convolution is adapted to the config's channel order and PIXEL_STD, which is exact.

    Args:
        cfg: of the model.
        source: checkpoint with a ResNet, see :func:`read_resnet`.
        reid_source: another one for the backbone of the re-ID branch; by default the same.
        convention: what `source` was trained with: one of CONVENTIONS, or "config" for what the
            config says; by default what is usual for the file's names.
        reid_convention: of `reid_source`.
        partial: take what fits where not everything does.

    Raises:
        InputError: see :func:`read_resnet`; the ResNet does not fill a backbone, or needs other
            values of config keys; the model has no backbone for it.
    """
    shapes = _backbone_shapes(cfg)
    if reid_source and REID_BACKBONE not in shapes:
        raise InputError(
            f"MODEL.REID.NAME {cfg.MODEL.REID.NAME} has no backbone that {reid_source} could fill"
        )
    filled = []
    for backbone in shapes:
        path, its_convention = source, convention
        if reid_source and backbone == REID_BACKBONE:
            path, its_convention = reid_source, reid_convention
        resnet = read_resnet(path, backbone=backbone, convention=its_convention)
        _check_config(cfg, BACKBONES[backbone], resnet)
        filled.append(_fill(cfg, backbone, shapes[backbone], resnet))
        _check_filled(filled[-1], partial=partial)
    return filled


def save_weights(filled: list[FilledBackbone], path: str) -> None:
    """Write a checkpoint that is loaded by full names, atomically.

    Raises:
        InputError: the path does not end in .pth, by which a checkpoint is known.
    """
    if not path.endswith(".pth"):
        raise InputError(f"output {path!r}: expected a name that ends in .pth")
    tensors = {f"{f.backbone}.{name}": value for f in filled for name, value in f.tensors.items()}
    with replace_file(path) as file:
        torch.save({"model": tensors}, file)


def needed_keys(cfg: CfgNode, filled: list[FilledBackbone]) -> dict[str, object]:
    """Config keys, with their values, that weights converted for this config depend on."""
    keys = ["INPUT.FORMAT", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD"]
    for backbone in filled:
        keys += [
            f"{BACKBONES[backbone.backbone]}.{name}" for name in ("DEPTH", "NORM", "STRIDE_IN_1X1")
        ]
    return {key: _get(cfg, key) for key in keys}


def _get(cfg: CfgNode, key: str) -> object:
    return reduce(getattr, key.split("."), cfg)


def _backbone_shapes(cfg: CfgNode) -> dict[str, dict[str, torch.Size]]:
    """{backbone: {name in it: shape}} of the ResNets that the config's model has."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        state = build_model(cfg).state_dict()
    shapes = {
        backbone: {
            name.removeprefix(f"{backbone}."): value.shape
            for name, value in state.items()
            if name.startswith(f"{backbone}.") and not name.endswith(UNUSED)
        }
        for backbone in BACKBONES
    }
    shapes = {backbone: names for backbone, names in shapes.items() if FIRST in names}
    if not shapes:
        raise InputError(
            f"MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME}: expected a ResNet with a pyramid"
        )
    return shapes


def _check_config(cfg: CfgNode, key: str, resnet: PretrainedResNet) -> None:
    """Refuse what would load without a word and compute something else.

    Args:
        cfg: of the model.
        key: of the backbone's ResNet in the config.
        resnet: that is meant for it.
    """
    needed: dict[str, object] = {}
    convention = CONVENTIONS.get(resnet.convention)
    if convention and sorted(cfg.INPUT.FORMAT) != sorted(convention.channels):
        needed["INPUT.FORMAT"] = convention.channels
    elif convention:
        mean = [convention.mean[i] for i in _channel_order(cfg, convention)]
        if not np.allclose(cfg.MODEL.PIXEL_MEAN, mean, atol=0.01):
            needed["MODEL.PIXEL_MEAN"] = mean
    if convention and _get(cfg, f"{key}.DEPTH") >= 50:  # smaller ones have no 1 x 1 convolutions
        needed[f"{key}.STRIDE_IN_1X1"] = convention.stride_in_1x1
    if resnet.folded:
        needed[f"{key}.NORM"] = "FrozenBN"
    elif "BN" not in _get(cfg, f"{key}.NORM"):
        needed[f"{key}.NORM"] = "BN"
    wrong = [f"{k} {v!r}, not {_get(cfg, k)!r}" for k, v in needed.items() if _get(cfg, k) != v]
    if wrong:
        raise InputError(
            f"{resnet.path} (convention: {resnet.convention}) needs {'; '.join(wrong)}. Append it, "
            "as KEY VALUE, to this command and to the training's, or put it into the config"
        )


def _fill(
    cfg: CfgNode, backbone: str, shapes: dict[str, torch.Size], resnet: PretrainedResNet
) -> FilledBackbone:
    filled = FilledBackbone(backbone, resnet.path, resnet.convention, expected=len(shapes))
    tensors = _with_statistics(resnet.tensors)
    for name, shape in shapes.items():
        if name not in tensors:
            filled.missing.append(name)
        elif tensors[name].shape != shape:
            filled.other_shape.append(f"{name} {(*tensors[name].shape,)} for {(*shape,)}")
        else:
            filled.tensors[name] = tensors[name]
    unused = [source for name, source in resnet.sources.items() if name not in shapes]
    filled.left_over = [*resnet.left_over, *unused]
    if FIRST in filled.tensors and resnet.convention in CONVENTIONS:
        weight = _adapt_input(tensors[FIRST], cfg, CONVENTIONS[resnet.convention])
        filled.adapted = not torch.equal(weight, tensors[FIRST])
        filled.tensors[FIRST] = weight
    return filled


def _with_statistics(tensors: Tensors) -> Tensors:
    """Norms that are scale and shift alone get statistics that leave activations as they are."""
    filled = dict(tensors)
    for name, scale in tensors.items():
        if name.endswith(".norm.weight"):
            norm = name.removesuffix("weight")
            filled.setdefault(f"{norm}running_mean", torch.zeros_like(scale))
            filled.setdefault(f"{norm}running_var", torch.full_like(scale, 1 - 1e-5))  # + eps is 1
    return filled


def _channel_order(cfg: CfgNode, convention: Convention) -> list[int]:
    """Where each channel of the config's input is in the convention's."""
    return [convention.channels.index(channel) for channel in cfg.INPUT.FORMAT]


def _adapt_input(weight: torch.Tensor, cfg: CfgNode, convention: Convention) -> torch.Tensor:
    """The first convolution for the config's channel order and standard deviations.

    Exact: with the same means, padding is an input of zero in both.
    """
    order = _channel_order(cfg, convention)
    scale = [std / convention.std[i] for i, std in zip(order, cfg.MODEL.PIXEL_STD, strict=True)]
    return weight[:, order] * weight.new_tensor(scale).view(1, -1, 1, 1)


def _check_filled(filled: FilledBackbone, *, partial: bool) -> None:
    wrong = [*filled.other_shape, *(f"{name} is missing" for name in filled.missing)]
    if wrong and not (partial and filled.tensors):
        raise InputError(
            f"{filled.path}: fills {len(filled.tensors)} of the {filled.expected} tensors of "
            f"{filled.backbone}: {wrong[0]} (and {len(wrong) - 1} more); expected a ResNet of the "
            f"depth and widths of {BACKBONES[filled.backbone]}; partial conversion takes what fits"
        )
