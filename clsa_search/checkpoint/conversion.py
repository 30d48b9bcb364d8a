"""Convert pretrained ResNets of other projects to a checkpoint for the backbones of a model.

Detectron2 matches names of other projects by their ends. This is ambiguous for two backbones, so
every tensor gets the full name in the model here.
"""

from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

import clsa_search.modeling  # noqa: F401  (registers the meta-architecture)
from clsa_search.atomic_io import replace_file
from clsa_search.checkpoint.conventions import CONVENTIONS, Convention
from clsa_search.checkpoint.public_weights import UNUSED_SUFFIXES, PublicDetector, Tensors
from clsa_search.checkpoint.resnet_layouts import PretrainedResNet, read_resnet
from clsa_search.checkpoint.search_model import VALUES
from clsa_search.errors import InputError
from clsa_search.modeling.crop_normalization import CropInput, read_crop_input

DETECTOR_BACKBONE = "backbone.bottom_up"
REID_BACKBONE = "reid_branch.backbone"
RESNET_KEYS = {
    DETECTOR_BACKBONE: "MODEL.RESNETS",
    REID_BACKBONE: "MODEL.REID.BACKBONE.RESNETS",
}
"""Config key of the ResNet of each backbone of a PersonSearchRCNN."""

_FIRST_CONVOLUTION = "stem.conv1.weight"


@dataclass
class ConvertedBackbone:
    """The converted tensors of one backbone; all names are those inside the backbone.

    Args:
        backbone: name of the backbone in the model.
        path: path of the pretrained checkpoint.
        convention: convention of the checkpoint, one of CONVENTION_NAMES.
        expected: number of tensors of the backbone.
        tensors: converted tensors.
        missing: tensors of the backbone that the file does not have.
        wrong_shape: tensors with another shape in the file, with both shapes.
        unused: tensors of the file without a place in the backbone, by their names in the file.
        adapted: whether the first convolution was changed for the config's input.
    """

    backbone: str
    path: str
    convention: str
    expected: int
    tensors: Tensors = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    wrong_shape: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    adapted: bool = False


def convert_weights(
    cfg: CfgNode,
    source: str | None,
    *,
    reid_source: str | None = None,
    convention: str | None = None,
    reid_convention: str | None = None,
    partial: bool = False,
) -> list[ConvertedBackbone]:
    """Convert pretrained ResNets for the backbones of a config's model.

    The first convolution is adapted to the config's channel order and PIXEL_STD; this is exact.

    Args:
        cfg: config of the model.
        source: checkpoint with a ResNet, see `read_resnet`; None converts only `reid_source`.
        reid_source: another checkpoint for the backbone of the re-ID branch.
        convention: convention of `source`, one of CONVENTION_NAMES; by default the usual one for
            its names.
        reid_convention: convention of `reid_source`.
        partial: whether to accept a ResNet with only some of the tensors.

    Raises:
        InputError: a file cannot be read, its ResNet does not fill a backbone or needs other config
            values, or the model has no backbone for it.
    """
    shapes = _read_backbone_shapes(cfg)
    if reid_source and REID_BACKBONE not in shapes:
        raise InputError(
            f"MODEL.REID.NAME is {cfg.MODEL.REID.NAME}, which has no backbone for {reid_source}; "
            "expected CropBranch"
        )
    converted = []
    for backbone in shapes:
        path, its_convention = source, convention
        if reid_source and backbone == REID_BACKBONE:
            path, its_convention = reid_source, reid_convention
        if path is None:
            continue
        resnet = read_resnet(path, backbone=backbone, convention=its_convention)
        _check_config(cfg, RESNET_KEYS[backbone], resnet)
        converted.append(_convert(cfg, backbone, shapes[backbone], resnet))
        _check_complete(converted[-1], partial=partial)
    return converted


def save_weights(
    converted: list[ConvertedBackbone], path: str, detector: PublicDetector | None = None
) -> None:
    """Write a checkpoint with the full names of the model, atomically.

    Args:
        converted: converted backbones.
        path: file to write.
        detector: complete detector beside them; the checkpoint keeps the config values it needs.

    Raises:
        InputError: the path does not end in .pth.
    """
    if not path.endswith(".pth"):
        raise InputError(f"output {path!r}: expected a name that ends in .pth")
    tensors = {
        f"{c.backbone}.{name}": value for c in converted for name, value in c.tensors.items()
    }
    content: dict[str, object] = {"model": tensors}
    if detector is not None:
        content = {"model": detector.tensors | tensors, VALUES: detector.config}
    with replace_file(path) as file:
        torch.save(content, file)


def required_keys(cfg: CfgNode, converted: list[ConvertedBackbone]) -> dict[str, object]:
    """Return the config keys and values that weights converted for this config depend on."""
    keys = ["INPUT.FORMAT", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD"]
    for backbone in converted:
        resnet = RESNET_KEYS[backbone.backbone]
        keys += [f"{resnet}.{name}" for name in ("DEPTH", "NORM", "STRIDE_IN_1X1")]
    return {key: _read(cfg, key) for key in keys}


def _read(cfg: CfgNode, key: str) -> object:
    return reduce(getattr, key.split("."), cfg)


def _read_backbone_shapes(cfg: CfgNode) -> dict[str, dict[str, torch.Size]]:
    """Return {backbone: {name in the backbone: shape}} of the ResNets in a config's model."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        state = build_model(cfg).state_dict()
    shapes = {
        backbone: {
            name.removeprefix(f"{backbone}."): value.shape
            for name, value in state.items()
            if name.startswith(f"{backbone}.") and not name.endswith(UNUSED_SUFFIXES)
        }
        for backbone in RESNET_KEYS
    }
    shapes = {backbone: names for backbone, names in shapes.items() if _FIRST_CONVOLUTION in names}
    if not shapes:
        raise InputError(
            f"MODEL.BACKBONE.NAME is {cfg.MODEL.BACKBONE.NAME}; expected a ResNet with a feature "
            "pyramid, such as build_resnet_fpn_backbone"
        )
    return shapes


def _check_config(cfg: CfgNode, key: str, resnet: PretrainedResNet) -> None:
    """Check the config values that would silently change the results of a ResNet.

    Args:
        cfg: config of the model.
        key: config key of the backbone's ResNet.
        resnet: pretrained ResNet for the backbone.
    """
    needed: dict[str, object] = {}
    convention = CONVENTIONS.get(resnet.convention)
    pixels = _read_input(cfg, key)
    if convention and sorted(pixels.format) != sorted(convention.channels):
        needed["INPUT.FORMAT"] = convention.channels
    elif convention:
        mean = [convention.mean[i] for i in _channel_order(pixels, convention)]
        if not np.allclose(pixels.mean, mean, atol=0.01):
            of_reid = key != RESNET_KEYS[DETECTOR_BACKBONE] and cfg.MODEL.REID.INPUT.PIXEL_MEAN
            needed["MODEL.REID.INPUT.PIXEL_MEAN" if of_reid else "MODEL.PIXEL_MEAN"] = mean
    resnet_cfg = _read(cfg, key)
    assert isinstance(resnet_cfg, CfgNode)
    if convention and resnet_cfg.DEPTH >= 50:  # smaller ones have no 1 x 1 convolutions
        needed[f"{key}.STRIDE_IN_1X1"] = convention.stride_in_1x1
    if resnet.has_folded_norms:
        needed[f"{key}.NORM"] = "FrozenBN"
    elif "BN" not in resnet_cfg.NORM:
        needed[f"{key}.NORM"] = "BN"
    wrong = [f"{k} {v!r}, not {_read(cfg, k)!r}" for k, v in needed.items() if _read(cfg, k) != v]
    if wrong:
        raise InputError(
            f"{resnet.path} (convention: {resnet.convention}) needs {'; '.join(wrong)}. Append it "
            "as KEY VALUE to this command and to the training command, or set it in the config file"
        )


def _convert(
    cfg: CfgNode, backbone: str, shapes: dict[str, torch.Size], resnet: PretrainedResNet
) -> ConvertedBackbone:
    converted = ConvertedBackbone(backbone, resnet.path, resnet.convention, expected=len(shapes))
    tensors = _add_statistics(resnet.tensors)
    for name, shape in shapes.items():
        if name not in tensors:
            converted.missing.append(name)
        elif tensors[name].shape != shape:
            converted.wrong_shape.append(f"{name} {(*tensors[name].shape,)} for {(*shape,)}")
        else:
            converted.tensors[name] = tensors[name]
    unused = [source for name, source in resnet.sources.items() if name not in shapes]
    converted.unused = [*resnet.unused, *unused]
    if _FIRST_CONVOLUTION in converted.tensors and resnet.convention in CONVENTIONS:
        weight = tensors[_FIRST_CONVOLUTION]
        pixels = _read_input(cfg, RESNET_KEYS[backbone])
        adapted = _adapt_input(weight, pixels, CONVENTIONS[resnet.convention])
        converted.adapted = not torch.equal(adapted, weight)
        converted.tensors[_FIRST_CONVOLUTION] = adapted
    return converted


def _add_statistics(tensors: Tensors) -> Tensors:
    """Give folded norms statistics without effect."""
    complete = dict(tensors)
    for name, scale in tensors.items():
        if name.endswith(".norm.weight"):
            norm = name.removesuffix("weight")
            complete.setdefault(f"{norm}running_mean", torch.zeros_like(scale))
            # plus the epsilon of the norm it is 1
            complete.setdefault(f"{norm}running_var", torch.full_like(scale, 1 - 1e-5))
    return complete


def _read_input(cfg: CfgNode, key: str) -> CropInput:
    """Return the pixels that a backbone gets, by the config key of its ResNet."""
    if key == RESNET_KEYS[REID_BACKBONE]:
        return read_crop_input(cfg)
    return CropInput(cfg.INPUT.FORMAT, list(cfg.MODEL.PIXEL_MEAN), list(cfg.MODEL.PIXEL_STD))


def _channel_order(pixels: CropInput, convention: Convention) -> list[int]:
    """Return the position of each channel of the input in the convention's input."""
    return [convention.channels.index(channel) for channel in pixels.format]


def _adapt_input(weight: torch.Tensor, pixels: CropInput, convention: Convention) -> torch.Tensor:
    """Adapt the first convolution to the channel order and standard deviations of its input.

    This is exact: the means are equal, so padding is an input of zero in both.
    """
    order = _channel_order(pixels, convention)
    scale = [std / convention.std[i] for i, std in zip(order, pixels.std, strict=True)]
    return weight[:, order] * weight.new_tensor(scale).view(1, -1, 1, 1)


def _check_complete(converted: ConvertedBackbone, *, partial: bool) -> None:
    wrong = [*converted.wrong_shape, *(f"{name} is missing" for name in converted.missing)]
    if wrong and not (partial and converted.tensors):
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise InputError(
            f"{converted.path}: fills {len(converted.tensors)} of the {converted.expected} tensors "
            f"of {converted.backbone}: {wrong[0]}{more}; expected a ResNet with the depth and the "
            f"widths of {RESNET_KEYS[converted.backbone]}; --partial accepts an incomplete one"
        )
