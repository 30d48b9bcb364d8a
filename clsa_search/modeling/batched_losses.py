"""Pooling and losses of the detector in training, with few waits for a GPU.

Detectron2 waits wherever it selects boxes by a mask or counts them. Here masked terms are 0, and
all counts of a batch are fetched together. The losses are the same sums in another order.

R boxes, K classes, M maps of levels.
"""

import torch
from detectron2.layers import cross_entropy
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import get_event_storage
from fvcore.nn import smooth_l1_loss

from clsa_search.modeling.gpu_ops import send
from clsa_search.modeling.person_roi_heads import PersonOutputLayers


class BatchedOutputLayers(FastRCNNOutputLayers):
    """FastRCNNOutputLayers whose losses wait for a GPU once, for the counts that are logged."""

    def losses(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: list[Instances]
    ) -> dict[str, torch.Tensor]:
        """Return loss_cls and loss_box_reg; see FastRCNNOutputLayers."""
        logits, deltas = predictions
        classes = torch.cat([x.gt_classes for x in proposals])
        _log_accuracy(logits, classes)
        boxes = Boxes.cat([x.proposal_boxes for x in proposals]).tensor
        # proposals of an image without ground truth are background: any boxes do
        truth = [x.gt_boxes if x.has("gt_boxes") else x.proposal_boxes for x in proposals]
        losses = {
            "loss_cls": cross_entropy(logits, classes, reduction="mean"),
            "loss_box_reg": self.box_reg_loss(boxes, Boxes.cat(truth).tensor, deltas, classes),
        }
        return {name: loss * self.loss_weight.get(name, 1.0) for name, loss in losses.items()}

    def box_reg_loss(
        self,
        proposal_boxes: torch.Tensor,
        gt_boxes: torch.Tensor,
        pred_deltas: torch.Tensor,
        gt_classes: torch.Tensor,
    ) -> torch.Tensor:
        """Return the sum of the losses of all foreground boxes, divided by R.

        Args:
            proposal_boxes: (R, 4).
            gt_boxes: (R, 4), of any value for background.
            pred_deltas: (R, 4), or (R, K * 4) with those of each class.
            gt_classes: (R,), K for background.
        """
        if self.box_reg_loss_type != "smooth_l1":
            return super().box_reg_loss(proposal_boxes, gt_boxes, pred_deltas, gt_classes)
        foreground = (gt_classes >= 0) & (gt_classes < self.num_classes)
        if pred_deltas.shape[1] > 4:
            own = gt_classes.where(foreground, 0)[:, None, None].expand(-1, 1, 4)
            pred_deltas = pred_deltas.view(-1, self.num_classes, 4).gather(1, own).squeeze(1)
        total = masked_box_loss(
            pred_deltas,
            proposal_boxes,
            gt_boxes,
            foreground,
            transform=self.box2box_transform,
            beta=self.smooth_l1_beta,
        )
        return total / max(len(gt_classes), 1)


class BatchedPersonOutputLayers(PersonOutputLayers, BatchedOutputLayers):
    """PersonOutputLayers with these losses."""


class BatchedPooler(ROIPooler):
    """ROIPooler that waits for a GPU once, for the number of boxes of each level."""

    def forward(self, x: list[torch.Tensor], box_lists: list[Boxes]) -> torch.Tensor:
        """Pool boxes (R, C, h, w), each from the level of its size.

        Args:
            x: M maps, the finest first.
            box_lists: boxes of each image, R in all.
        """
        numbers = [n for n, boxes in enumerate(box_lists) for _ in range(len(boxes))]
        images = send(torch.tensor(numbers, dtype=torch.float32), x[0].device)
        regions = torch.cat([images[:, None], Boxes.cat(box_lists).tensor], dim=1)
        if len(x) == 1:
            return self.level_poolers[0](x[0], regions)
        levels = assign_boxes_to_levels(
            box_lists, self.min_level, self.max_level, self.canonical_box_size, self.canonical_level
        )
        known = torch.arange(len(x), device=levels.device)
        counts = (levels[:, None] == known).sum(dim=0).tolist()
        order = levels.argsort()
        pooled = [
            pooler(maps, part)
            for pooler, maps, part in zip(
                self.level_poolers, x, regions[order].split(counts), strict=True
            )
        ]
        return torch.cat(pooled)[order.argsort()]


def masked_box_loss(
    pred_deltas: torch.Tensor,
    boxes: torch.Tensor,
    gt_boxes: torch.Tensor,
    mask: torch.Tensor,
    *,
    transform: Box2BoxTransform,
    beta: float,
) -> torch.Tensor:
    """Return the sum of the smooth L1 losses of the boxes of a mask.

    Args:
        pred_deltas: (..., 4).
        boxes: (..., 4), or a shape that broadcasts to it.
        gt_boxes: (..., 4), of any value outside of the mask.
        mask: (...) bool.
        transform: scale of the deltas.
        beta: see fvcore's smooth_l1_loss.
    """
    mask = mask[..., None]
    deltas = encode_boxes(boxes, gt_boxes.where(mask, boxes), transform.weights)
    return smooth_l1_loss(pred_deltas.where(mask, 0), deltas.where(mask, 0), beta, reduction="sum")


def encode_boxes(
    boxes: torch.Tensor, targets: torch.Tensor, weights: tuple[float, float, float, float]
) -> torch.Tensor:
    """Return the deltas (..., 4) from boxes to targets as Box2BoxTransform does.

    Args:
        boxes: (..., 4).
        targets: (..., 4), of a shape that broadcasts with `boxes`.
        weights: factors of dx, dy, dw, dh.
    """
    sizes, wanted = boxes[..., 2:] - boxes[..., :2], targets[..., 2:] - targets[..., :2]
    centers, aims = boxes[..., :2] + 0.5 * sizes, targets[..., :2] + 0.5 * wanted
    deltas = torch.cat([(aims - centers) / sizes, torch.log(wanted / sizes)], dim=-1)
    return torch.stack([w * x for w, x in zip(weights, deltas.unbind(-1), strict=True)], dim=-1)


@torch.no_grad()
def _log_accuracy(logits: torch.Tensor, classes: torch.Tensor) -> None:
    """Log what Detectron2's losses log of the classification.

    Args:
        logits: (R, K + 1), the background last.
        classes: (R,) of the ground truth.
    """
    if not len(classes):
        return
    background = logits.shape[1] - 1
    guesses = logits.argmax(dim=1)
    foreground, correct = (classes >= 0) & (classes < background), guesses == classes
    masks = [foreground, correct, foreground & correct, foreground & (guesses == background)]
    people, *rest = torch.stack(masks).sum(dim=1).tolist()
    storage = get_event_storage()
    storage.put_scalar("fast_rcnn/cls_accuracy", rest[0] / len(classes))
    if people:
        storage.put_scalar("fast_rcnn/fg_cls_accuracy", rest[1] / people)
        storage.put_scalar("fast_rcnn/false_negative", rest[2] / people)
