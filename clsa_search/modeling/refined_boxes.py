"""Boxes as the box head refines them, for the training of the re-ID branch.

At inference the branch sees boxes of the box head. Source: Li and Miao, "Sequential End-to-end
Network for Efficient Person Search" (AAAI 2021, arXiv 2103.10148).

G ground-truth boxes of an image, S sampled proposals of an image.
"""

import torch
from detectron2.config import CfgNode
from detectron2.modeling import StandardROIHeads
from detectron2.modeling.roi_heads import CascadeROIHeads
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou
from torch import nn

from clsa_search.errors import InputError
from clsa_search.modeling.padded_boxes import clip_boxes


class RefinedBoxLabels(nn.Module):
    """Identities of refined boxes, from the ground-truth box of the largest overlap.

    Args:
        ious: smallest IoU of a person at the start and after the switch.
        switch: share of the training with the first IoU.
    """

    def __init__(self, *, ious: tuple[float, float], switch: float) -> None:
        super().__init__()
        self.ious = ious
        self.switch = switch
        self.min_iou = ious[1]

    def set_progress(self, share: float) -> None:
        """Set the finished share of the training."""
        self.min_iou = self.ious[share > self.switch]

    @torch.no_grad()
    def forward(self, targets: list[Instances], samples: list[Instances]) -> list[Instances]:
        """Label the boxes of each image anew.

        Args:
            targets: gt_boxes (G, 4) and gt_pids (G,).
            samples: refined boxes as proposal_boxes (S, 4).

        Returns:
            proposal_boxes (S, 4), clipped to the image, gt_classes (S,) with 0 for a person and 1
            for background, and gt_boxes, gt_pids if the image has ground-truth boxes.
        """
        return [self._label(*pair) for pair in zip(targets, samples, strict=True)]

    def _label(self, target: Instances, sample: Instances) -> Instances:
        height, width = sample.image_size
        boxes = sample.proposal_boxes.tensor
        limits = boxes.new_tensor([width, height, width, height])
        boxes = Boxes(clip_boxes(boxes, boxes.isfinite().all(dim=1), limits))
        labeled = Instances(sample.image_size, proposal_boxes=boxes)
        if len(target) == 0:
            labeled.gt_classes = torch.ones(len(boxes), dtype=torch.int64, device=boxes.device)
            return labeled
        overlaps, matches = pairwise_iou(target.gt_boxes, boxes).max(dim=0)
        labeled.gt_classes = (overlaps < self.min_iou).long()
        labeled.gt_boxes = target.gt_boxes[matches]
        labeled.gt_pids = target.gt_pids[matches]
        return labeled


class RefiningCascadeROIHeads(CascadeROIHeads):
    """CascadeROIHeads with the boxes of the last stage as their training samples."""

    _last_stage: tuple[list[Instances], tuple[torch.Tensor, torch.Tensor]] | None = None

    def forward(
        self,
        images: ImageList,
        features: dict[str, torch.Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """Return samples and losses in training, otherwise detections; see CascadeROIHeads.

        The samples are those of the last stage: proposal_boxes, gt_classes and gt_boxes.
        """
        instances, losses = super().forward(images, features, proposals, targets)
        if self.training and self._last_stage is not None:
            instances, predictions = self._last_stage
            self._last_stage = None
            with torch.no_grad():
                boxes = self.box_predictor[-1].predict_boxes(predictions, instances)
            for sample, refined in zip(instances, boxes, strict=True):
                sample.proposal_boxes = Boxes(refined)
        return instances, losses

    def _run_stage(
        self, features: list[torch.Tensor], proposals: list[Instances], stage: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        predictions = super()._run_stage(features, proposals, stage)
        if self.training:
            self._last_stage = proposals, predictions
        return predictions


def refine_training_boxes(cfg: CfgNode, roi_heads: nn.Module) -> RefinedBoxLabels | None:
    """Let ROI heads return refined boxes in training, in place, if MODEL.REID.REFINED_BOXES.

    Returns:
        The labels of these boxes; None to train on the proposals.

    Raises:
        InputError: the ROI heads refine no boxes.
    """
    reid = cfg.MODEL.REID
    if not reid.REFINED_BOXES:
        return None
    if type(roi_heads) is CascadeROIHeads:
        roi_heads.__class__ = RefiningCascadeROIHeads
    elif isinstance(roi_heads, StandardROIHeads) and not isinstance(roi_heads, CascadeROIHeads):
        roi_heads.train_on_pred_boxes = True
    else:
        raise InputError(
            f"MODEL.REID.REFINED_BOXES is True, but the boxes of MODEL.ROI_HEADS.NAME "
            f"{cfg.MODEL.ROI_HEADS.NAME} are not returned in training; expected StandardROIHeads, "
            "PersonROIHeads or CascadeROIHeads, or False"
        )
    return RefinedBoxLabels(ious=tuple(reid.REFINED_IOUS), switch=reid.REFINED_SWITCH)
