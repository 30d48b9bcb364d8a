"""Convert pretrained backbones of other projects to a checkpoint for the backbones of a model.

Detectron2 matches names of other projects by their ends. This is ambiguous for two backbones, so
every tensor gets the full name in the model here.
"""

from dataclasses import dataclass, field

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

import clsa_search.modeling  # noqa: F401  (registers the meta-architecture)
from clsa_search.atomic_io import replace_file
from clsa_search.checkpoint.backbone_checks import (
    ARCHITECTURE_KEYS,
    BACKBONE_KEYS,
    NAME_KEYS,
    NODES,
    REID_BACKBONE,
    check_architecture,
    check_values_of_backbone,
    read_input,
    read_key,
)
from clsa_search.checkpoint.backbone_layouts import (
    CONSTANTS,
    PretrainedBackbone,
    find_architecture,
    read_backbone,
)
from clsa_search.checkpoint.conventions import CONVENTIONS, Convention
from clsa_search.checkpoint.public_weights import UNUSED_SUFFIXES, PublicDetector, Tensors
from clsa_search.checkpoint.search_model import VALUES
from clsa_search.errors import InputError
from clsa_search.modeling.crop_normalization import CropInput


@dataclass
class ConvertedBackbone:
    """The converted tensors of one backbone; all names are those inside the backbone.

    Args:
        backbone: name of the backbone in the model.
        path: path of the pretrained checkpoint.
        convention: convention of the checkpoint, one of CONVENTION_NAMES.
        expected: number of tensors of the backbone.
        architecture: see `PretrainedBackbone`.
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
    architecture: str
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
    """Convert pretrained ResNets, ConvNeXts or Swins for the backbones of a config's model.

    The first convolution is adapted to the config's channel order and PIXEL_STD; this is exact.

    Args:
        cfg: config of the model.
        source: checkpoint with a backbone, see `read_backbone`; None converts only `reid_source`.
        reid_source: another checkpoint for the backbone of the re-ID branch.
        convention: convention of `source`, one of CONVENTION_NAMES; by default the usual one for
            its names.
        reid_convention: convention of `reid_source`.
        partial: whether to accept a backbone with only some of the tensors.

    Raises:
        InputError: a file cannot be read, its network does not fill a backbone or needs other
            config values, or the model has no backbone for it.
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
        pretrained = read_backbone(
            path, backbone=backbone, convention=its_convention, names=[*shapes[backbone]]
        )
        check_architecture(cfg, backbone, shapes[backbone], pretrained)
        check_values_of_backbone(cfg, backbone, pretrained)
        converted.append(_convert(cfg, backbone, shapes[backbone], pretrained))
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
        kind, node = backbone.architecture, BACKBONE_KEYS[backbone.backbone]
        keys += [NAME_KEYS[backbone.backbone]] if kind != "ResNet" else []
        keys += [f"{node}.{name}" for name in ARCHITECTURE_KEYS[kind]]
    return {key: read_key(cfg, key) for key in keys}


def _read_backbone_shapes(cfg: CfgNode) -> dict[str, dict[str, torch.Size]]:
    """Return {backbone: {name in the backbone: shape}} of a config's model."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        state = build_model(cfg).state_dict()
    shapes = {
        backbone: {
            name.removeprefix(f"{backbone}."): value.shape
            for name, value in state.items()
            if name.startswith(f"{backbone}.") and not name.endswith(UNUSED_SUFFIXES + CONSTANTS)
        }
        for backbone in BACKBONE_KEYS
    }
    shapes = {backbone: names for backbone, names in shapes.items() if find_architecture(names)}
    if not shapes:
        raise InputError(
            f"MODEL.BACKBONE.NAME is {cfg.MODEL.BACKBONE.NAME}; expected a ResNet, ConvNeXt or "
            "Swin with a feature pyramid, such as build_resnet_fpn_backbone"
        )
    return shapes


def _convert(
    cfg: CfgNode, backbone: str, shapes: dict[str, torch.Size], pretrained: PretrainedBackbone
) -> ConvertedBackbone:
    path, convention = pretrained.path, pretrained.convention
    converted = ConvertedBackbone(
        backbone, path, convention, len(shapes), architecture=pretrained.architecture
    )
    tensors = _add_statistics(pretrained.tensors) | _add_output_norms(pretrained.tensors, shapes)
    for name, shape in shapes.items():
        if name not in tensors:
            converted.missing.append(name)
        elif tensors[name].shape != shape:
            converted.wrong_shape.append(f"{name} {(*tensors[name].shape,)} for {(*shape,)}")
        else:
            converted.tensors[name] = tensors[name]
    unused = [source for name, source in pretrained.sources.items() if name not in shapes]
    converted.unused = [*pretrained.unused, *unused]
    first = next((x for x, shape in shapes.items() if len(shape) == 4 and shape[1] == 3), None)
    if first in converted.tensors and convention in CONVENTIONS:
        weight = converted.tensors[first]
        adapted = _adapt_input(weight, read_input(cfg, backbone), CONVENTIONS[convention])
        converted.adapted = not torch.equal(adapted, weight)
        converted.tensors[first] = adapted
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


def _add_output_norms(tensors: Tensors, shapes: dict[str, torch.Size]) -> Tensors:
    """Return norms without effect for the outputs that have none in the file."""
    return {
        name: torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
        for name, shape in shapes.items()
        if name.startswith("norm_res") and name not in tensors
    }


def _adapt_input(weight: torch.Tensor, pixels: CropInput, convention: Convention) -> torch.Tensor:
    """Adapt the first convolution to the channel order and standard deviations of its input.

    This is exact: the means are equal, so padding is an input of zero in both.
    """
    order = convention.order(pixels.format)
    scale = [std / convention.std[i] for i, std in zip(order, pixels.std, strict=True)]
    return weight[:, order] * weight.new_tensor(scale).view(1, -1, 1, 1)


def _check_complete(converted: ConvertedBackbone, *, partial: bool) -> None:
    wrong = [*converted.wrong_shape, *(f"{name} is missing" for name in converted.missing)]
    if wrong and not (partial and converted.tensors):
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        kind = converted.architecture
        raise InputError(
            f"{converted.path}: fills {len(converted.tensors)} of the {converted.expected} tensors "
            f"of {converted.backbone}: {wrong[0]}{more}; expected a {kind} with the depth and "
            f"the widths of {BACKBONE_KEYS[converted.backbone]}.{NODES[kind]}; --partial accepts "
            "an incomplete one"
        )
