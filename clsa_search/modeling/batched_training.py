"""RPN and ROI heads that train on a batch of images with few waits for a GPU.

Detectron2 waits some ten times per image, wherever it selects boxes by a mask or counts them. Here
random keys choose the samples of all images at once. The distribution of the samples is the same.

N images, G ground-truth boxes of an image, A anchors, P proposals of an image.
"""

import torch
from detectron2.modeling import GeneralizedRCNN, StandardROIHeads
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.proposal_generator.proposal_utils import add_ground_truth_to_proposals
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from detectron2.structures import Boxes, Instances, pairwise_iou
from detectron2.utils.events import get_event_storage
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from clsa_search.modeling.batched_losses import (
    BatchedOutputLayers,
    BatchedPersonOutputLayers,
    BatchedPooler,
    masked_box_loss,
)
from clsa_search.modeling.batched_rpn import select_proposals
from clsa_search.modeling.gpu_ops import send
from clsa_search.modeling.person_roi_heads import PersonOutputLayers, PersonROIHeads

_IGNORED = -1  # label of a box without a loss
_NMS_IMAGES = 2  # images at once in NMS, which takes 320 MB for each with 2000 boxes of 5 levels


class BatchedRPN(RPN):
    """RPN with a few waits for a GPU per batch."""

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return the labels (A,) int8 and the matched ground-truth boxes (A, 4) of each image.

        A label is 1 for a sampled positive anchor, 0 for a sampled negative one, and -1 otherwise.
        """
        grid = Boxes.cat(anchors)
        all_labels, all_boxes = [], []
        for targets in gt_instances:
            boxes = targets.gt_boxes
            matches, labels = match_boxes(self.anchor_matcher, pairwise_iou(boxes, grid))
            if self.anchor_boundary_thresh >= 0:
                inside = grid.inside_box(targets.image_size, self.anchor_boundary_thresh)
                labels = labels.masked_fill(~inside, _IGNORED)
            all_labels.append(labels)
            all_boxes.append(boxes.tensor[matches] if len(boxes) else torch.zeros_like(grid.tensor))
        labels = torch.stack(all_labels)
        positive, negative = sample_labels(
            labels == 1, labels == 0, self.batch_size_per_image, self.positive_fraction
        )
        labels = labels.fill_(_IGNORED).masked_fill_(positive, 1).masked_fill_(negative, 0)
        return list(labels), all_boxes

    def losses(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[torch.Tensor],
        gt_labels: list[torch.Tensor],
        pred_anchor_deltas: list[torch.Tensor],
        gt_boxes: list[torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """Return loss_rpn_cls and loss_rpn_loc; the host waits for the logged numbers only."""
        if self.box_reg_loss_type != "smooth_l1":
            return super().losses(
                anchors, pred_objectness_logits, gt_labels, pred_anchor_deltas, gt_boxes
            )
        labels = torch.stack(gt_labels)
        positive, sampled = labels == 1, labels >= 0
        location = masked_box_loss(
            torch.cat(pred_anchor_deltas, dim=1),
            Boxes.cat(anchors).tensor,
            torch.stack(gt_boxes),
            positive,
            transform=self.box2box_transform,
            beta=self.smooth_l1_beta,
        )
        logits = torch.cat(pred_objectness_logits, dim=1)
        objectness = F.binary_cross_entropy_with_logits(
            logits.where(sampled, 0), positive.float(), weight=sampled.float(), reduction="sum"
        )
        counts = torch.stack([positive.sum(), (labels == 0).sum()]).tolist()
        for name, count in zip(("pos", "neg"), counts, strict=True):
            get_event_storage().put_scalar(f"rpn/num_{name}_anchors", count / len(labels))
        losses = {"loss_rpn_cls": objectness, "loss_rpn_loc": location}
        samples = self.batch_size_per_image * len(labels)
        return {
            name: loss / samples * self.loss_weight.get(name, 1.0) for name, loss in losses.items()
        }

    @torch.no_grad()
    def predict_proposals(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[torch.Tensor],
        pred_anchor_deltas: list[torch.Tensor],
        image_sizes: list[tuple[int, int]],
    ) -> list[Instances]:
        """Return the proposals of each image; the host waits for their number only."""
        predictions = pred_objectness_logits, pred_anchor_deltas
        grids = [grid.tensor for grid in anchors]
        sizes = send(torch.tensor(image_sizes, dtype=torch.float32), grids[0].device)
        limits = sizes.flip(1).repeat(1, 2)
        parts = []
        for start in range(0, len(image_sizes), _NMS_IMAGES):
            some = slice(start, start + _NMS_IMAGES)
            logits, deltas = ([maps[some] for maps in levels] for levels in predictions)
            with torch.autocast(limits.device.type, enabled=False):  # NMS has its own types
                parts.append(select_proposals(self, logits, deltas, grids, limits[some]))
        boxes, scores, valid = (
            torch.cat([getattr(part, name) for part in parts])
            for name in ("boxes", "scores", "valid")
        )
        finite = [maps.isfinite().all() for levels in predictions for maps in levels]
        is_usable = torch.stack([*finite, *(part.is_final for part in parts)]).all()
        *counts, is_usable = torch.cat([valid.sum(dim=1), is_usable[None]]).tolist()
        if not is_usable:  # Detectron2 reports a training that has diverged
            return super().predict_proposals(anchors, *predictions, image_sizes)
        return [
            Instances(
                size, proposal_boxes=Boxes(boxes[n, :count]), objectness_logits=scores[n, :count]
            )
            for n, (size, count) in enumerate(zip(image_sizes, counts, strict=True))
        ]


class BatchedROIHeads(StandardROIHeads):
    """ROI heads; their sampling waits for a GPU once per batch."""

    @torch.no_grad()
    def label_and_sample_proposals(
        self, proposals: list[Instances], targets: list[Instances]
    ) -> list[Instances]:
        """Return the samples of each image with gt_classes and, if it has targets, their fields."""
        if self.proposal_append_gt:
            proposals = add_ground_truth_to_proposals(targets, proposals)
        pairs = list(zip(proposals, targets, strict=True))
        all_matches, all_classes = zip(*(self._label(*pair) for pair in pairs), strict=True)
        classes = pad_sequence(list(all_classes), batch_first=True, padding_value=_IGNORED)
        background = classes == self.num_classes
        positive, negative = sample_labels(
            (classes != _IGNORED) & ~background,
            background,
            self.batch_size_per_image,
            self.positive_fraction,
        )
        # sampled positives first, then sampled negatives
        order = (2 * positive.byte() + negative.byte()).argsort(dim=1, descending=True, stable=True)
        counts = torch.stack([positive.sum(dim=1), negative.sum(dim=1)]).tolist()
        samples = []
        for row, (matches, pair) in enumerate(zip(all_matches, pairs, strict=True)):
            index = order[row, : counts[0][row] + counts[1][row]]
            samples.append(_take_samples(*pair, index, classes[row], matches))
        storage = get_event_storage()
        for name, numbers in zip(("fg", "bg"), counts, strict=True):
            storage.put_scalar(f"roi_head/num_{name}_samples", sum(numbers) / len(numbers))
        return samples

    def _label(self, proposals: Instances, targets: Instances) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the matches (P,) of the proposals of an image and their classes (P,)."""
        overlaps = pairwise_iou(targets.gt_boxes, proposals.proposal_boxes)
        matches, labels = match_boxes(self.proposal_matcher, overlaps)
        if not len(targets):
            return matches, torch.full_like(matches, self.num_classes)
        classes = targets.gt_classes[matches].masked_fill(labels == 0, self.num_classes)
        return matches, classes.masked_fill(labels == _IGNORED, _IGNORED)


def batch_training(model: GeneralizedRCNN) -> None:
    """Let the RPN and the ROI heads of a model train on all images of a batch at once.

    Other parts than Detectron2's standard ones stay as they are.

    Args:
        model: GeneralizedRCNN, changed in place. Its parameters and their names stay.
    """
    modules = [model.proposal_generator, model.roi_heads]
    if type(model.roi_heads) in _BATCHED and isinstance(model.roi_heads, StandardROIHeads):
        modules += [model.roi_heads.box_predictor, model.roi_heads.box_pooler]
    for module in modules:
        if batched := _BATCHED.get(type(module)):
            module.__class__ = batched


_BATCHED: dict[type, type[nn.Module]] = {
    RPN: BatchedRPN,
    StandardROIHeads: BatchedROIHeads,
    PersonROIHeads: BatchedROIHeads,
    FastRCNNOutputLayers: BatchedOutputLayers,
    PersonOutputLayers: BatchedPersonOutputLayers,
    ROIPooler: BatchedPooler,
}


def match_boxes(matcher: Matcher, overlaps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Match boxes to ground truth as a matcher does, without its waits.

    Args:
        matcher: thresholds and labels.
        overlaps: (G, P) IoU.

    Returns:
        Matched rows (P,) int64 and labels (P,) int8.
    """
    if not len(overlaps):
        matches = overlaps.new_zeros(overlaps.shape[1], dtype=torch.int64)
        return matches, torch.full_like(matches, matcher.labels[0], dtype=torch.int8)
    best, matches = overlaps.max(dim=0)
    labels = torch.ones_like(matches, dtype=torch.int8)
    bounds = zip(matcher.thresholds[:-1], matcher.thresholds[1:], strict=True)
    for label, (low, high) in zip(matcher.labels, bounds, strict=True):
        labels.masked_fill_((best >= low) & (best < high), label)
    if matcher.allow_low_quality_matches:
        labels.masked_fill_((overlaps == overlaps.amax(dim=1, keepdim=True)).any(dim=0), 1)
    return matches, labels


def sample_labels(
    positive: torch.Tensor, negative: torch.Tensor, count: int, positive_fraction: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample boxes of each image, as many positive ones as allowed, and then negative ones.

    Args:
        positive: (N, P) bool.
        negative: (N, P) bool.
        count: largest number of samples of an image.
        positive_fraction: largest share of positive samples in `count`.

    Returns:
        (N, P) masks of the positive and the negative samples.
    """
    most = int(count * positive_fraction)
    chosen = _draw(positive, most, positive.new_full((len(positive), 1), most, dtype=torch.int64))
    return chosen, _draw(negative, count, count - chosen.sum(dim=1, keepdim=True))


def _draw(mask: torch.Tensor, most: int, counts: torch.Tensor) -> torch.Tensor:
    """Return masks (N, P) of up to `counts` (N, 1) random members of each mask, at most `most`."""
    keys = torch.rand(mask.shape, device=mask.device).masked_fill_(~mask, -1)
    keys, index = keys.topk(min(most, mask.shape[1]), dim=1)
    places = torch.arange(keys.shape[1], device=mask.device)
    return torch.zeros_like(mask).scatter(1, index, (keys >= 0) & (places < counts))


def _take_samples(
    proposals: Instances,
    targets: Instances,
    index: torch.Tensor,
    classes: torch.Tensor,
    matches: torch.Tensor,
) -> Instances:
    """Return the proposals of an index with the ground truth that they match."""
    samples = proposals[index]
    samples.gt_classes = classes[index]
    if len(targets):
        matched = matches[index]
        for name, values in targets.get_fields().items():
            if name.startswith("gt_") and not samples.has(name):
                samples.set(name, values[matched])
    return samples
