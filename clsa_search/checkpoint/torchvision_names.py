"""The names of torchvision's Faster R-CNN in those of Detectron2."""

from collections.abc import Iterator

import torch

from clsa_search.checkpoint.public_weights import Tensors
from clsa_search.checkpoint.resnet_layouts import rename_torchvision

_BODY = "backbone.body."
_PREDICTOR = "roi_heads.box_predictor."
_FROZEN_EPS = 1e-5  # of Detectron2's FrozenBatchNorm2d


def rename_detector(state: Tensors) -> Tensors:
    """Return the tensors of a Faster R-CNN in Detectron2's names, with the background last.

    Norms without a count of batches are frozen ones. torchvision runs those of its weights without
    an epsilon.
    """
    body = {k.removeprefix(_BODY): v for k, v in state.items() if k.startswith(_BODY)}
    resnet = {f"backbone.bottom_up.{name}": v for name, v in rename_torchvision(body)[0].items()}
    if not any(name.endswith("num_batches_tracked") for name in body):
        resnet = _fold_norms(resnet)
    prefixes = dict(_list_prefixes(is_deep="rpn.head.conv.1.0.weight" in state))
    rest = {_rename(k, prefixes): v for k, v in state.items() if not k.startswith(_BODY)}
    for part in ("weight", "bias"):
        scores, boxes = f"{_PREDICTOR}cls_score.{part}", f"{_PREDICTOR}bbox_pred.{part}"
        rest |= {scores: rest[scores].roll(-1, dims=0)} if scores in rest else {}
        rest |= {boxes: rest[boxes][4:]} if boxes in rest else {}
    return resnet | rest


def _list_prefixes(*, is_deep: bool) -> Iterator[tuple[str, str]]:
    """Yield the starts of names in both projects; the first one that fits is right.

    Args:
        is_deep: whether the RPN has several convolutions.
    """
    yield "rpn.head.cls_logits.", "proposal_generator.rpn_head.objectness_logits."
    yield "rpn.head.bbox_pred.", "proposal_generator.rpn_head.anchor_deltas."
    yield "roi_heads.box_head.fc6.", "roi_heads.box_head.fc1."
    yield "roi_heads.box_head.fc7.", "roi_heads.box_head.fc2."
    yield "roi_heads.box_head.5.", "roi_heads.box_head.fc1."  # after the flattening
    for i in range(4):
        for old, new in (
            (f"backbone.fpn.inner_blocks.{i}.", f"backbone.fpn_lateral{i + 2}."),
            (f"backbone.fpn.layer_blocks.{i}.", f"backbone.fpn_output{i + 2}."),
            (f"roi_heads.box_head.{i}.", f"roi_heads.box_head.conv{i + 1}."),
        ):
            yield from ((f"{old}0.", new), (f"{old}1.", f"{new}norm."), (old, new))
        conv = "proposal_generator.rpn_head.conv."
        yield f"rpn.head.conv.{i}.0.", f"{conv}conv{i}." if is_deep else conv
    yield "rpn.head.conv.", "proposal_generator.rpn_head.conv."  # files of old versions


def _rename(name: str, prefixes: dict[str, str]) -> str:
    for old, new in prefixes.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _fold_norms(tensors: Tensors) -> Tensors:
    """Make the statistics of norms without an epsilon part of their scale and shift."""
    folded = dict(tensors)
    norms = [name.removesuffix("running_var") for name in tensors if name.endswith("running_var")]
    for norm in norms:
        mean, var = tensors[f"{norm}running_mean"], tensors[f"{norm}running_var"]
        scale = tensors[f"{norm}weight"] * var.rsqrt()
        folded[f"{norm}weight"] = scale
        folded[f"{norm}bias"] = tensors[f"{norm}bias"] - mean * scale
        folded[f"{norm}running_mean"] = torch.zeros_like(mean)
        # plus the epsilon of the norm it is 1
        folded[f"{norm}running_var"] = torch.full_like(var, 1 - _FROZEN_EPS)
    return folded
