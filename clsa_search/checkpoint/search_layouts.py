"""Complete public searching models: SeqNet and NAE, recognized by names and shapes.

Both detect and embed people with a C4 Faster R-CNN of torchvision's parts. The batch norms after
their linear layers become part of these.
"""

import re
from typing import Any

import torch

from clsa_search.checkpoint.conventions import CONVENTIONS
from clsa_search.checkpoint.public_weights import (
    UNUSED_SUFFIXES,
    PublicSearcher,
    StateDict,
    Tensors,
    read_state_dict,
    refuses_damaged,
)
from clsa_search.checkpoint.resnet_layouts import rename_torchvision
from clsa_search.errors import InputError

SIZES = [[32, 64, 128, 256, 512]]
ASPECT_RATIOS = [[0.5, 1.0, 2.0]]

_DEPTHS = {6: 50, 23: 101, 36: 152}  # by the number of blocks of res4
_EPS = 1e-5  # of the batch norms
_MARK = "roi_heads.embedding_head"
_TRAINING_ONLY = (
    "roi_heads.reid_loss.",  # lookup table and circular queue of OIM
    "roi_heads.box_predictor.cls_score.",  # the norms of the embeddings classify
)
_STAGES = {
    "NAE": {"roi_heads.box_head.": "reid_branch."},
    "SeqNet": {"roi_heads.box_head.": "roi_heads.", "roi_heads.reid_head.": "reid_branch."},
}
"""Prefix of each res5 in the file and in our model."""

_CONFIG = {
    "INPUT.FORMAT": "RGB",
    "INPUT.MIN_SIZE_TEST": 900,
    "INPUT.MAX_SIZE_TEST": 1500,
    "MODEL.PIXEL_MEAN": [*CONVENTIONS["torchvision"].mean],
    "MODEL.PIXEL_STD": [*CONVENTIONS["torchvision"].std],
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res4"],
    "MODEL.RESNETS.NORM": "FrozenBN",
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.ANCHOR_GENERATOR.NAME": "RoundedAnchorGenerator",
    "MODEL.ANCHOR_GENERATOR.SIZES": SIZES,
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": ASPECT_RATIOS,
    "MODEL.ANCHOR_GENERATOR.OFFSET": 0.0,
    "MODEL.RPN.IN_FEATURES": ["res4"],
    "MODEL.RPN.BBOX_REG_WEIGHTS": (1.0, 1.0, 1.0, 1.0),
    "MODEL.RPN.NMS_THRESH": 0.7,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 6000,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 300,
    "MODEL.ROI_HEADS.NAME": "MaxPooledRes5ROIHeads",
    "MODEL.ROI_HEADS.IN_FEATURES": ["res4"],
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.5,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.4,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": (10.0, 10.0, 5.0, 5.0),
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 14,
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 2,
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlign",
    "MODEL.REID.NAME": "Res5Branch",
    "MODEL.REID.LEVELS": ["res4", "res5"],
    "TEST.DETECTIONS_PER_IMAGE": 300,
}
"""What the programs fix, and their own test settings."""

_NMS_THRESH_TEST = {"NAE": 0.4, "SeqNet": 0.5}


@refuses_damaged
def read_searcher(path: str) -> PublicSearcher:
    """Read the searching model in a file.

    Raises:
        InputError: the file cannot be read, or holds no such model; see :func:`find_searcher`.
    """
    file = read_state_dict(path)
    searcher = find_searcher(file)
    if searcher is None:
        raise InputError(
            f"{path}: holds no searching model: none of its {len(file.tensors)} tensors "
            f"({', '.join([*file.tensors][:3])} ...) is below roi_heads.embedding_head; expected a "
            "checkpoint of SeqNet or NAE"
        )
    return searcher


def find_searcher(file: StateDict) -> PublicSearcher | None:
    """Return the searching model in a file; None if its names are not those of one.

    Raises:
        InputError: it is another one than SeqNet and NAE, or it is incomplete.
    """
    state = {name.removeprefix("module."): value.float() for name, value in file.tensors.items()}
    if not any(name.startswith(_MARK) for name in state):
        return None
    name = _recognize(file.path, state)
    kept = {
        key: value
        for key, value in state.items()
        if not key.startswith(_TRAINING_ONLY) and not key.endswith(UNUSED_SUFFIXES)
    }
    try:
        config = {**_CONFIG, **_read_shapes(kept)}
        tensors = _rename(kept, name)
    except (KeyError, IndexError, RuntimeError) as error:
        raise InputError(
            f"{file.path}: not a complete {name}: {error} is missing or has another shape"
        ) from error
    config |= {
        "MODEL.META_ARCHITECTURE": name,
        "MODEL.REID.NMS_THRESH_TEST": _NMS_THRESH_TEST[name],
    }
    return PublicSearcher(
        path=file.path,
        name=f"{name} R{config['MODEL.RESNETS.DEPTH']}-C4",
        tensors=tensors,
        config=config,
        report=["left out: lookup table and queue of the training"],
    )


def _recognize(path: str, state: Tensors) -> str:
    """Return NAE or SeqNet."""
    projector = state.get(f"{_MARK}.projectors.feat_res5.0.weight")
    if f"{_MARK}_2nd.rescaler.weight" in state:
        found = "COAT, whose three heads are transformers"
    elif projector is None or f"{_MARK}.rescaler.weight" not in state:
        found = "a searching model without norm-aware embedding of res4 and res5"
    elif projector.dim() == 4:
        found = "NAE+, the pixel-wise one"
    else:
        return "SeqNet" if any(x.startswith("roi_heads.reid_head.") for x in state) else "NAE"
    raise InputError(f"{path}: holds {found}; expected SeqNet or NAE: no other one is built here")


def _read_shapes(state: Tensors) -> dict[str, Any]:
    """Return the config values that the shapes tell."""
    blocks = sum(
        re.fullmatch(r"backbone\.layer3\.\d+\.conv3\.weight", x) is not None for x in state
    )
    if blocks not in _DEPTHS:
        raise KeyError("backbone.layer3 of a ResNet-50, -101 or -152")
    width, per_group = state["backbone.layer1.0.conv2.weight"].shape[:2]
    return {
        "MODEL.RESNETS.DEPTH": _DEPTHS[blocks],
        "MODEL.RESNETS.NUM_GROUPS": width // per_group,
        "MODEL.RESNETS.WIDTH_PER_GROUP": per_group,
        "MODEL.RESNETS.STEM_OUT_CHANNELS": len(state["backbone.conv1.weight"]),
        "MODEL.RESNETS.RES2_OUT_CHANNELS": len(state["backbone.layer1.0.conv3.weight"]),
        "MODEL.REID.HEAD.EMBED_DIM": len(state[f"{_MARK}.projectors.feat_res5.0.weight"]),
    }


def _rename(state: Tensors, name: str) -> Tensors:
    """Return the tensors in our names; those without a place keep their own."""
    state = dict(state)
    tensors = _take_resnet(state, "backbone.", "backbone.")
    for source, target in _STAGES[name].items():
        tensors |= _take_resnet(state, source, target)
    tensors |= _take_rpn(state)
    if name == "SeqNet":
        first, predictor = "roi_heads.faster_rcnn_predictor", "roi_heads.box_predictor"
        for part in ("weight", "bias"):
            # the background comes first there and last here, where it has no box
            tensors[f"{predictor}.cls_score.{part}"] = state.pop(f"{first}.cls_score.{part}").flip(
                0
            )
            tensors[f"{predictor}.bbox_pred.{part}"] = state.pop(f"{first}.bbox_pred.{part}")[4:]
    for level in ("res4", "res5"):
        layer = _take_linear(state, f"{_MARK}.projectors.feat_{level}")
        tensors |= _name_layer(f"reid_heads.projectors.{level}", *layer)
    weight, bias = _take_linear(state, "roi_heads.box_predictor.bbox_pred")
    tensors |= _name_layer("reid_heads.bbox_pred", weight[4:], bias[4:])
    scale, shift = _take_norm(state, f"{_MARK}.rescaler")
    tensors |= _name_layer("reid_heads.rescaler", scale[:, None], shift)
    return {**tensors, **state}  # what is left shows as a tensor without a place


def _take_resnet(state: Tensors, source: str, target: str) -> Tensors:
    """Remove a part of a ResNet from the state, and return it in our names."""
    own = {
        x.removeprefix(source): state.pop(x)
        for x in list(state)
        if x.startswith(source) and re.match(r"(conv1|bn1|layer\d)\.", x.removeprefix(source))
    }
    return {f"{target}{key}": value for key, value in rename_torchvision(own)[0].items()}


def _take_rpn(state: Tensors) -> Tensors:
    """Remove the RPN from the state, and return it with the anchors in our order.

    There the sizes of one aspect ratio are neighbors, here the aspect ratios of one size.
    """
    new = "rpn.head.conv.0.0.weight" in state
    head, target = "rpn.head", "proposal_generator.rpn_head"
    grid = len(ASPECT_RATIOS[0]), len(SIZES[0])
    tensors = {}
    for part in ("weight", "bias"):
        tensors[f"{target}.conv.{part}"] = state.pop(f"{head}.conv.{'0.0.' if new else ''}{part}")
        for source, name in (("cls_logits", "objectness_logits"), ("bbox_pred", "anchor_deltas")):
            rows = state.pop(f"{head}.{source}.{part}").unflatten(0, (*grid, -1))
            tensors[f"{target}.{name}.{part}"] = rows.transpose(0, 1).flatten(0, 2)
    return tensors


def _take_linear(state: Tensors, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Remove a linear layer and the norm after it, if any, from the state; return them as one."""
    if f"{name}.weight" in state:
        return state.pop(f"{name}.weight"), state.pop(f"{name}.bias")
    weight, bias = (state.pop(f"{name}.0.{part}").double() for part in ("weight", "bias"))
    scale, shift = (x.double() for x in _take_norm(state, f"{name}.1"))
    return (weight * scale[:, None]).float(), (bias * scale + shift).float()


def _take_norm(state: Tensors, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Remove a batch norm from the state, and return its scale and shift."""
    parts = ("weight", "bias", "running_mean", "running_var")
    weight, bias, mean, var = (state.pop(f"{name}.{part}").double() for part in parts)
    scale = weight / (var + _EPS).sqrt()
    return scale.float(), (bias - mean * scale).float()


def _name_layer(name: str, weight: torch.Tensor, bias: torch.Tensor) -> Tensors:
    return {f"{name}.weight": weight, f"{name}.bias": bias}
