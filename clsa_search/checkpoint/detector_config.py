"""Config values of complete public detectors."""

import math
import re
from typing import Any

import torch

from clsa_search.checkpoint.conventions import CONVENTIONS
from clsa_search.checkpoint.public_weights import Tensors
from clsa_search.errors import InputError

NEEDED_KEYS = (
    *("INPUT.FORMAT", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD", "MODEL.RESNETS.STRIDE_IN_1X1"),
    *(f"MODEL.ANCHOR_GENERATOR.{x}" for x in ("NAME", "SIZES", "ASPECT_RATIOS", "OFFSET")),
    *("MODEL.RPN.IN_FEATURES", "MODEL.RPN.BBOX_REG_WEIGHTS", "MODEL.ROI_HEADS.IN_FEATURES"),
    *(f"MODEL.ROI_HEADS.{x}" for x in ("NAME", "PRETRAINED_CLASSES", "PERSON_CLASS")),
    *(f"MODEL.ROI_BOX_HEAD.POOLER_{x}" for x in ("TYPE", "SAMPLING_RATIO", "RESOLUTION")),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS",
)
"""Keys whose other values change the boxes of a detector, while its tensors still fit."""

FASTER_RCNN = {
    "MODEL.META_ARCHITECTURE": "PersonSearchRCNN",
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.RESNETS.NORM": "FrozenBN",
    "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.ANCHOR_GENERATOR.SIZES": [[32.0], [64.0], [128.0], [256.0], [512.0]],
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
    "MODEL.ANCHOR_GENERATOR.OFFSET": 0.0,
    "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
    "MODEL.RPN.BBOX_REG_WEIGHTS": [1.0, 1.0, 1.0, 1.0],
    "MODEL.RPN.NMS_THRESH": 0.7,
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 2000,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 1000,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 1000,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,
    "MODEL.ROI_HEADS.NAME": "PersonROIHeads",
    "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.05,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.5,
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": [10.0, 10.0, 5.0, 5.0],
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7,
    "TEST.DETECTIONS_PER_IMAGE": 100,
    "INPUT.MIN_SIZE_TEST": 800,
    "INPUT.MAX_SIZE_TEST": 1333,
}
"""Values of both projects."""

DETECTRON2 = {
    **FASTER_RCNN,
    "INPUT.FORMAT": "BGR",
    "MODEL.PIXEL_MEAN": [*CONVENTIONS["msra"].mean],
    "MODEL.PIXEL_STD": [*CONVENTIONS["msra"].std],
    "MODEL.RESNETS.STRIDE_IN_1X1": True,
    "MODEL.ANCHOR_GENERATOR.NAME": "DefaultAnchorGenerator",
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignV2",
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 0,
}
"""Values of Detectron2's model zoo."""

TORCHVISION = {
    **FASTER_RCNN,
    "INPUT.FORMAT": "RGB",
    "MODEL.PIXEL_MEAN": [*CONVENTIONS["torchvision"].mean],
    "MODEL.PIXEL_STD": [*CONVENTIONS["torchvision"].std],
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.ANCHOR_GENERATOR.NAME": "RoundedAnchorGenerator",
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlign",
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 2,
}
"""Values of torchvision."""

ANCHORS = "proposal_generator.anchor_generator.cell_anchors."
"""Start of the names of the anchors in files of Detectron2."""

_DEPTHS = {6: 50, 23: 101, 36: 152}  # by the number of blocks of res4
_RESNET = "backbone.bottom_up."
_BOX_HEAD = "roi_heads.box_head."
_PREDICTOR = "roi_heads.box_predictor."


def read_shapes(path: str, tensors: Tensors) -> dict[str, Any]:
    """Return the config values that names and shapes of a Faster R-CNN tell.

    Args:
        path: path of the file, for messages.
        tensors: tensors in our names.

    Raises:
        InputError: a tensor is missing, or the depth is unknown.
    """

    def count(pattern: str) -> int:
        return sum(re.fullmatch(pattern, name) is not None for name in tensors)

    def shape(name: str) -> torch.Size:
        if name not in tensors:
            raise InputError(f"{path}: {name} is missing; expected a complete Faster R-CNN")
        return tensors[name].shape

    def norm(layer: str) -> str:
        return "FrozenBN" if f"{layer}.norm.weight" in tensors else ""

    blocks = count(rf"{_RESNET}res4\.\d+\.conv3\.weight")
    if blocks not in _DEPTHS:
        depths = ", ".join(map(str, _DEPTHS.values()))
        raise InputError(
            f"{path}: res4 has {blocks} blocks with three convolutions; expected a ResNet of depth "
            f"{depths}"
        )
    width, per_group = shape(f"{_RESNET}res2.0.conv2.weight")[:2]
    classes = shape(f"{_PREDICTOR}cls_score.weight")[0] - 1
    convs = count(rf"{_BOX_HEAD}conv\d+\.weight")
    return {
        "MODEL.RESNETS.DEPTH": _DEPTHS[blocks],
        "MODEL.RESNETS.NUM_GROUPS": width // per_group,
        "MODEL.RESNETS.WIDTH_PER_GROUP": per_group,
        "MODEL.RESNETS.STEM_OUT_CHANNELS": shape(f"{_RESNET}stem.conv1.weight")[0],
        "MODEL.RESNETS.RES2_OUT_CHANNELS": shape(f"{_RESNET}res2.0.conv3.weight")[0],
        "MODEL.FPN.OUT_CHANNELS": shape("backbone.fpn_lateral2.weight")[0],
        "MODEL.FPN.NORM": norm("backbone.fpn_lateral2"),
        "MODEL.RPN.CONV_DIMS": [-1] * max(1, count(r"proposal.+\.conv\.conv\d+\.weight")),
        "MODEL.ROI_HEADS.PRETRAINED_CLASSES": classes,
        "MODEL.ROI_BOX_HEAD.NUM_CONV": convs,
        "MODEL.ROI_BOX_HEAD.CONV_DIM": shape(f"{_BOX_HEAD}conv1.weight")[0] if convs else 256,
        "MODEL.ROI_BOX_HEAD.NORM": norm(f"{_BOX_HEAD}conv1"),
        "MODEL.ROI_BOX_HEAD.NUM_FC": count(rf"{_BOX_HEAD}fc\d+\.weight"),
        "MODEL.ROI_BOX_HEAD.FC_DIM": shape(f"{_BOX_HEAD}fc1.weight")[0],
        "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": classes > 1
        and shape(f"{_PREDICTOR}bbox_pred.weight")[0] == 4,
    }


def read_zoo_values(tensors: Tensors, shapes: dict[str, Any]) -> dict[str, Any]:
    """Return the config values that differ within Detectron2's zoo.

    Args:
        tensors: all tensors of the file; some files hold the anchors and the pixel statistics.
        shapes: see :func:`read_shapes`.
    """
    values: dict[str, Any] = {}
    if shapes["MODEL.RESNETS.NUM_GROUPS"] > 1:
        values["MODEL.PIXEL_STD"] = [*reversed(CONVENTIONS["torchvision"].std)]
        values["MODEL.RESNETS.STRIDE_IN_1X1"] = False
    if shapes["MODEL.ROI_HEADS.PRETRAINED_CLASSES"] in (1203, 1230):  # LVIS
        values |= {"MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0001, "TEST.DETECTIONS_PER_IMAGE": 300}
    for name in ("pixel_mean", "pixel_std"):
        if name in tensors:
            values[f"MODEL.{name.upper()}"] = tensors[name].flatten().tolist()
    cells = [value for name, value in tensors.items() if name.startswith(ANCHORS)]
    return values | (_read_anchors(cells) if cells else {})


def _read_anchors(cells: list[torch.Tensor]) -> dict[str, Any]:
    """Return the config values of anchors (A, 4) of each level, around the origin."""
    sizes, ratios = [], []
    for cell in cells:
        width, height = (cell[:, 2:] - cell[:, :2]).double().unbind(dim=1)
        sizes.append(_distinct((width * height).sqrt()))
        ratios.append(_distinct(height / width))
    return {
        "MODEL.ANCHOR_GENERATOR.SIZES": sizes,
        "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": ratios[:1] if ratios == ratios[:1] * 5 else ratios,
    }


def _distinct(values: torch.Tensor) -> list[float]:
    """Return the different values in their order, without the errors of float32."""
    return list(dict.fromkeys(round(x, 3) for x in values.tolist() if math.isfinite(x)))
