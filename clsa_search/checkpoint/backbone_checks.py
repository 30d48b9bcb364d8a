"""Check that a pretrained backbone suits the backbone of a config."""

from collections.abc import Iterable
from functools import reduce

import numpy as np
from detectron2.config import CfgNode

from clsa_search.checkpoint.backbone_layouts import TIMM, PretrainedBackbone, find_architecture
from clsa_search.checkpoint.conventions import CONVENTIONS, Convention
from clsa_search.errors import InputError
from clsa_search.modeling.crop_normalization import CropInput, read_crop_input

DETECTOR_BACKBONE = "backbone.bottom_up"
REID_BACKBONE = "reid_branch.backbone"
BACKBONE_KEYS = {DETECTOR_BACKBONE: "MODEL", REID_BACKBONE: "MODEL.REID.BACKBONE"}
"""Config node with the keys of each backbone of a PersonSearchRCNN, such as RESNETS."""

NAME_KEYS = {DETECTOR_BACKBONE: "MODEL.BACKBONE.NAME", REID_BACKBONE: "MODEL.REID.BACKBONE.NAME"}
"""Config key with the builder of each backbone."""

NODES = {
    "ResNet": "RESNETS",
    "CLIP ResNet": "RESNETS",
    "ConvNeXt": "CONVNEXT",
    "Swin": "SWIN",
    TIMM: "TIMM",
}
"""Node of each architecture, below one of BACKBONE_KEYS."""

ARCHITECTURE_KEYS = {
    "ResNet": ("RESNETS.DEPTH", "RESNETS.NORM", "RESNETS.STRIDE_IN_1X1"),
    "CLIP ResNet": ("RESNETS.DEPTH", "RESNETS.NORM"),
    "ConvNeXt": ("CONVNEXT.SIZE",),
    "Swin": ("SWIN.SIZE", "SWIN.VERSION"),
    TIMM: ("TIMM.NAME",),
}
"""Keys below one of BACKBONE_KEYS. The weights of an architecture depend on them."""


def read_key(cfg: CfgNode, key: str) -> object:
    """Return the value of a key such as "MODEL.RESNETS.DEPTH"."""
    return reduce(getattr, key.split("."), cfg)


def read_input(cfg: CfgNode, backbone: str) -> CropInput:
    """Return the pixels of the input of a backbone of BACKBONE_KEYS."""
    if backbone == REID_BACKBONE:
        return read_crop_input(cfg)
    return CropInput(cfg.INPUT.FORMAT, list(cfg.MODEL.PIXEL_MEAN), list(cfg.MODEL.PIXEL_STD))


def check_architecture(
    cfg: CfgNode, backbone: str, names: Iterable[str], pretrained: PretrainedBackbone
) -> None:
    """Check that the network of a file is of the kind in a config.

    Args:
        cfg: config of the model.
        backbone: name of the backbone, one of BACKBONE_KEYS.
        names: names of its tensors.
        pretrained: network of the file.

    Raises:
        InputError: it is of another kind; the message names both.
    """
    own, found, key = find_architecture(names), pretrained.architecture, NAME_KEYS[backbone]
    if own != found:
        raise InputError(
            f"{pretrained.path}: holds a {found}, but {key} is {read_key(cfg, key)!r}, a {own}; "
            f"expected a file with a {own}, or a {key} that builds a {found}"
        )


def check_values_of_backbone(cfg: CfgNode, backbone: str, pretrained: PretrainedBackbone) -> None:
    """Check the config values that would silently change the results of a backbone.

    Args:
        cfg: config of the model.
        backbone: name of the backbone, one of BACKBONE_KEYS.
        pretrained: network of the file.

    Raises:
        InputError: a value differs; the message names all of them.
    """
    needed: dict[str, object] = {}
    convention = CONVENTIONS.get(pretrained.convention)
    pixels = read_input(cfg, backbone)
    if convention and sorted(pixels.format) != sorted(convention.channels):
        needed["INPUT.FORMAT"] = convention.channels
    elif convention:
        mean = [convention.mean[i] for i in convention.order(pixels.format)]
        if not np.allclose(pixels.mean, mean, atol=0.01):
            of_reid = backbone != DETECTOR_BACKBONE and cfg.MODEL.REID.INPUT.PIXEL_MEAN
            needed["MODEL.REID.INPUT.PIXEL_MEAN" if of_reid else "MODEL.PIXEL_MEAN"] = mean
    if "ResNet" in pretrained.architecture:
        needed |= _list_resnet_values(cfg, BACKBONE_KEYS[backbone], pretrained, convention)
    wrong = [
        f"{key} {value!r}, not {read_key(cfg, key)!r}"
        for key, value in needed.items()
        if read_key(cfg, key) != value
    ]
    if wrong:
        raise InputError(
            f"{pretrained.path} (convention: {pretrained.convention}) needs {'; '.join(wrong)}. "
            "Append it as KEY VALUE to this command and to the training command, or set it in the "
            "config file"
        )


def _list_resnet_values(
    cfg: CfgNode, node: str, resnet: PretrainedBackbone, convention: Convention | None
) -> dict[str, object]:
    """Return the necessary keys and values of a ResNet."""
    needed: dict[str, object] = {}
    options = read_key(cfg, f"{node}.RESNETS")
    assert isinstance(options, CfgNode)
    # smaller ones have no 1 x 1 convolutions, CLIP's no strides
    if convention and options.DEPTH >= 50 and resnet.architecture == "ResNet":
        needed[f"{node}.RESNETS.STRIDE_IN_1X1"] = convention.stride_in_1x1
    if resnet.has_folded_norms:
        needed[f"{node}.RESNETS.NORM"] = "FrozenBN"
    elif "BN" not in options.NORM:
        needed[f"{node}.RESNETS.NORM"] = "BN"
    return needed
