"""The detector for a batch of images at once, with one wait between host and GPU.

Detectron2 waits some twelve times per image: wherever it drops boxes, the host must learn how many
remain. Here masks say so.

N images, P proposals of an image, K classes, D detections of an image at most, H x W pixels.
"""

from collections.abc import Sequence

import torch
from detectron2.layers import ROIAlign
from detectron2.modeling import GeneralizedRCNN, StandardROIHeads
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from detectron2.structures import Boxes, ImageList, Instances

from clsa_search.modeling.backbones import compute_features
from clsa_search.modeling.batched_rpn import propose_boxes
from clsa_search.modeling.gpu_ops import Tensors, send, to_float
from clsa_search.modeling.graphs import RecordedFunction
from clsa_search.modeling.padded_boxes import PaddedBoxes, clip_boxes, select_boxes
from clsa_search.modeling.person_roi_heads import PersonOutputLayers, PersonROIHeads

_SIZES = 6  # sizes of batches that are recorded
_LARGEST = 8 * 3 * 1024 * 1536  # elements of the images: eight of 900 x 1500


class BatchedDetector:
    """Detectron2's detector at inference, for all images at once.

    Args:
        model: model with a standard RPN and standard ROI heads, see `supports`.
        features: names of the feature maps that its caller needs.
    """

    def __init__(self, model: GeneralizedRCNN, features: Sequence[str]) -> None:
        self.model = model
        self.features = list(features)
        self.recorded = RecordedFunction(self.compute, capacity=_SIZES, max_elements=_LARGEST)

    @staticmethod
    def supports(model: GeneralizedRCNN) -> bool:
        """Return whether a model's RPN and ROI heads are Detectron2's standard ones, for boxes."""
        rpn, heads = model.proposal_generator, model.roi_heads
        return (
            type(rpn) is RPN
            and rpn.anchor_generator.box_dim == 4
            and type(heads) in (StandardROIHeads, PersonROIHeads)
            and not (heads.mask_on or heads.keypoint_on)
            and type(heads.box_predictor) in (FastRCNNOutputLayers, PersonOutputLayers)
            and all(isinstance(x, ROIAlign) for x in heads.box_pooler.level_poolers)
        )

    @torch.no_grad()
    def __call__(self, images: ImageList) -> tuple[Tensors, list[Instances]]:
        """Detect people; the host waits for the number of detections only.

        Returns:
            The feature maps, and per image Instances (pred_boxes, scores, pred_classes) as
            Detectron2's ROI heads return them.
        """
        sizes = send(torch.tensor(images.image_sizes, dtype=torch.float32), images.tensor.device)
        results = self.recorded(images.tensor, sizes)
        *counts, is_final = results["status"].tolist()
        if not is_final:
            results = self.compute(images.tensor, sizes, complete=True)
            *counts, _ = results["status"].tolist()
        detections = []
        for row, (size, count) in enumerate(zip(images.image_sizes, counts, strict=True)):
            found = {name: results[name][row, :count] for name in ("scores", "pred_classes")}
            boxes = Boxes(results["pred_boxes"][row, :count])
            detections.append(Instances(size, pred_boxes=boxes, **found))
        return {name: results[name] for name in self.features}, detections

    def compute(
        self, images: torch.Tensor, sizes: torch.Tensor, *, complete: bool = False
    ) -> Tensors:
        """Compute detections of fixed size, without a wait.

        Args:
            images: (N, 3, H, W) normalized.
            sizes: (N, 2) height and width of each image without its padding.
            complete: see :func:`select_boxes`.

        Returns:
            pred_boxes (N, D, 4), scores and pred_classes (N, D), the most confident first; status
            (N + 1,): number of detections of each image, and 1 if they are final; feature maps.
        """
        limits = sizes.flip(1).repeat(1, 2)
        features = compute_features(self.model.backbone, images, self.features)
        proposals = propose_boxes(
            self.model.proposal_generator, features, limits, complete=complete
        )
        detections = _detect(self.model.roi_heads, features, proposals, limits, complete)
        is_final = proposals.is_final & detections.is_final
        return {
            **{name: to_float(features[name]) for name in self.features},
            "pred_boxes": detections.boxes,
            "scores": detections.scores,
            "pred_classes": detections.groups,
            "status": torch.cat([detections.valid.sum(dim=1), is_final[None]]),
        }


def _detect(
    heads: StandardROIHeads,
    features: Tensors,
    proposals: PaddedBoxes,
    limits: torch.Tensor,
    complete: bool,
) -> PaddedBoxes:
    """Classify and refine proposals as the ROI heads do; a class is a group."""
    predictor = heads.box_predictor
    maps = [to_float(features[name]) for name in heads.box_in_features]
    logits, deltas = predictor(heads.box_head(_pool(heads.box_pooler, maps, proposals.boxes)))
    boxes = predictor.box2box_transform.apply_deltas(deltas, proposals.boxes.view(-1, 4))
    boxes = boxes.view(*proposals.valid.shape, -1, 4)
    scores = torch.stack(predictor.predict_probs((logits, deltas), list(proposals.boxes)))
    finite = boxes.flatten(2).isfinite().all(dim=2) & scores.isfinite().all(dim=2)
    boxes = clip_boxes(boxes, finite[..., None], limits[:, None, None])
    scores = scores[..., :-1].transpose(1, 2)
    valid = (finite & proposals.valid)[:, None] & (scores > predictor.test_score_thresh)
    scores, order = scores.masked_fill(~valid, -torch.inf).sort(dim=2, descending=True, stable=True)
    boxes = boxes.transpose(1, 2).expand(-1, scores.shape[1], -1, -1)
    return select_boxes(
        boxes.gather(2, order[..., None].expand(-1, -1, -1, 4)),
        scores,
        valid.gather(2, order),
        max_iou=predictor.test_nms_thresh,
        count=predictor.test_topk_per_image,
        complete=complete,
    )


def _pool(pooler: ROIPooler, maps: list[torch.Tensor], boxes: torch.Tensor) -> torch.Tensor:
    """Pool boxes (N, P, 4) to (N * P, C, h, w), each from the level of its size.

    Detectron2's pooler collects the boxes of each level, and waits for their number. Here each
    level pools all boxes, those of other levels as empty ones, which cost next to nothing.
    """
    numbers = torch.arange(len(boxes), dtype=boxes.dtype, device=boxes.device)
    regions = torch.cat([numbers[:, None, None].expand(*boxes.shape[:2], 1), boxes], dim=2)
    regions = regions.view(-1, 5)
    levels = assign_boxes_to_levels(
        [Boxes(boxes.view(-1, 4))],
        *(pooler.min_level, pooler.max_level, pooler.canonical_box_size, pooler.canonical_level),
    )
    pooled = None
    for level, (layer, level_maps) in enumerate(zip(pooler.level_poolers, maps, strict=True)):
        own = (levels == level)[:, None]
        outputs = layer(level_maps, regions.masked_fill(~own, 0))
        own = own[:, :, None, None]
        pooled = outputs if pooled is None else outputs.where(own, pooled)
    assert pooled is not None
    return pooled
