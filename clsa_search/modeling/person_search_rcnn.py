"""The meta-architecture: Detectron2's Faster R-CNN with a re-ID branch.

N images, M detections of an image, R boxes over all images, L levels, D embedding width of a level.
"""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import get_event_storage
from torch import nn

from clsa_search.modeling.anchors import use_quiet_anchors
from clsa_search.modeling.backbones import compute_features, feature_shapes, lacking_output
from clsa_search.modeling.batched_detector import BatchedDetector
from clsa_search.modeling.criterion import CLSACriterion
from clsa_search.modeling.gpu_ops import send
from clsa_search.modeling.heads import ReIDHeads
from clsa_search.modeling.recorded_embedder import RecordedEmbedder
from clsa_search.modeling.refined_boxes import RefinedBoxLabels, refine_training_boxes
from clsa_search.modeling.reid_branch import ReIDBranch, build_reid_branch
from clsa_search.modeling.reid_sampling import select_training_boxes


@META_ARCH_REGISTRY.register()
class PersonSearchRCNN(GeneralizedRCNN):
    """Faster R-CNN with a re-ID branch: detects people and computes their embeddings.

    Args:
        reid_branch: feature maps of boxes; see `ReIDBranch`.
        reid_heads: embeddings of the feature maps.
        reid_criterion: losses of the embeddings, in training.
        proposals_per_image: see `select_training_boxes`.
        refined_boxes: labels of the boxes that the ROI heads refined, to train the re-ID branch on
            them; see `refine_training_boxes`. None for proposals.
        detector: arguments of GeneralizedRCNN.
    """

    @configurable
    def __init__(
        self,
        *,
        reid_branch: ReIDBranch,
        reid_heads: ReIDHeads,
        reid_criterion: nn.Module,
        proposals_per_image: int,
        refined_boxes: RefinedBoxLabels | None = None,
        **detector: object,
    ) -> None:
        super().__init__(**detector)
        self.reid_branch = reid_branch
        self.reid_heads = reid_heads
        self.reid_criterion = reid_criterion
        self.proposals_per_image = proposals_per_image
        self.refined_boxes = refined_boxes
        # forms of `detect` and `embed` with equal results, see `optimize_for_inference`
        self.batched_detector: BatchedDetector | None = None
        self.crop_embedder: RecordedEmbedder | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Return the constructor arguments for a config."""
        try:
            detector = super().from_config(use_quiet_anchors(cfg))
        except KeyError as error:
            raise lacking_output(cfg, error) from error
        branch = build_reid_branch(cfg, feature_shapes(detector["backbone"]))
        # the order of construction decides the random weights for a seed
        criterion = CLSACriterion(cfg, list(branch.output_shape()))
        heads = ReIDHeads(cfg, branch.output_shape())
        return {
            **detector,
            "reid_branch": branch,
            "reid_heads": heads,
            "reid_criterion": criterion,
            "proposals_per_image": cfg.MODEL.REID.PROPOSALS_PER_IMAGE,
            "refined_boxes": refine_training_boxes(cfg, detector["roi_heads"]),
        }

    def forward(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor] | list[dict]:
        """Compute the losses in training, otherwise the outputs of `inference`.

        Args:
            batched_inputs: one dict per image, from PersonSearchDatasetMapper: `image` (3, H, W);
                in training also `instances` (gt_boxes, gt_classes, gt_pids).

        Returns:
            In training loss_rpn_*, loss_cls, loss_box_reg, and the losses of `CLSACriterion`.
        """
        if not self.training:
            return self.inference(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        targets = [x["instances"].to(self.device) for x in batched_inputs]
        features = self.extract_features(images)
        proposals, rpn_losses = self.proposal_generator(images, features, targets)
        samples, detector_losses = self.roi_heads(images, features, proposals, targets)
        if self.refined_boxes is not None:
            samples = self.refined_boxes(targets, samples)
        boxes, pids = select_training_boxes(
            targets, samples, proposals_per_image=self.proposals_per_image
        )
        level_features = self.reid_branch(images, features, boxes)
        reid_losses = self.reid_criterion(self.reid_heads(level_features), pids)
        if self.vis_period > 0 and get_event_storage().iter % self.vis_period == 0:
            self.visualize_training(batched_inputs, proposals)
        return {**rpn_losses, **detector_losses, **reid_losses}

    def inference(
        self,
        batched_inputs: list[dict],
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[dict] | list[Instances]:
        """Detect people and compute the embeddings of all boxes in one pass.

        Detectron2's GeneralizedRCNNWithTTA runs on this method. It merges the boxes of several
        passes and drops all other fields, so its detections have no embeddings. Pass its boxes as
        `detected_instances` to get them.

        Args:
            batched_inputs: one dict per image: `image` (3, H, W), and optionally `height`, `width`
                of the original image, `query_boxes` (Boxes) with `query_ids`, and `gt_boxes`
                (Boxes). Boxes are in pixels of `image`.
            detected_instances: per image pred_boxes in pixels of `image`, used in place of the
                detector's output; on any device.
            do_postprocess: whether to scale boxes to the original image.

        Returns:
            Per image a dict: `instances` (pred_boxes, scores, pred_classes, embeddings);
            `queries` (pred_boxes, query_ids, embeddings) if the input has `query_ids`;
            `gt_people` (pred_boxes, embeddings) if the input has `gt_boxes`. Embeddings are unit
            rows (M, L * D), boxes XYXY in pixels of the original image.
            Without `do_postprocess` only the `instances`, boxes in pixels of `image`.
        """
        assert not self.training
        images = self.preprocess_image(batched_inputs)
        given = [self._read_given_boxes(x) if do_postprocess else {} for x in batched_inputs]
        if detected_instances is None:
            features, detected_instances = self.detect(images)
        else:
            features = self.extract_features(images) if self.reid_branch.in_features else {}
        outputs = [
            {"instances": x.to(self.device), **boxes}
            for x, boxes in zip(detected_instances, given, strict=True)
        ]
        self._add_embeddings(images, features, outputs)
        if not do_postprocess:
            return [output["instances"] for output in outputs]
        sizes = [
            (x.get("height", height), x.get("width", width))
            for x, (height, width) in zip(batched_inputs, images.image_sizes, strict=True)
        ]
        return _postprocess(outputs, sizes)

    def preprocess_image(self, batched_inputs: list[dict]) -> ImageList:
        """Normalize images on the model's device, and pad them to one size.

        The host does not wait for copies from pinned memory.
        """
        images = [send(x["image"], self.device) for x in batched_inputs]
        images = [(x - self.pixel_mean) / self.pixel_std for x in images]
        return ImageList.from_tensors(images, self.backbone.size_divisibility)

    def detect(self, images: ImageList) -> tuple[dict[str, torch.Tensor], list[Instances]]:
        """Detect people.

        Returns:
            The feature maps that the re-ID branch reads, and per image Instances (pred_boxes,
            scores, pred_classes) in pixels of `images`.
        """
        if self.batched_detector is not None:
            return self.batched_detector(images)
        features = self.extract_features(images)
        proposals, _ = self.proposal_generator(images, features)
        return features, self.roi_heads(images, features, proposals)[0]

    def embed(
        self, images: ImageList, features: dict[str, torch.Tensor], boxes: list[Boxes]
    ) -> torch.Tensor:
        """Compute the embeddings of boxes, unit rows (R, L * D); see `ReIDBranch`."""
        if self.crop_embedder is not None:
            return self.crop_embedder(images, boxes)
        level_features = self.reid_branch(images, features, boxes)
        return self.reid_heads.concatenate(self.reid_heads(level_features))

    def extract_features(self, images: ImageList) -> dict[str, torch.Tensor]:
        """Return the detector's feature maps, in float32 under autocast too.

        RoIAlign converts its boxes to the type of the features. In bfloat16 this moves a box by up
        to four pixels at 1000.
        """
        features = compute_features(self.backbone, images.tensor, self.reid_branch.in_features)
        return {name: maps.float() for name, maps in features.items()}

    def _read_given_boxes(self, x: dict) -> dict[str, Instances]:
        """Return the boxes that are given with an input, in the form of detections."""
        size = tuple(x["image"].shape[-2:])
        given = {}
        if "query_ids" in x:
            ids = send(x["query_ids"], self.device)
            given["queries"] = Instances(
                size, pred_boxes=self._send(x["query_boxes"]), query_ids=ids
            )
        if "gt_boxes" in x:
            given["gt_people"] = Instances(size, pred_boxes=self._send(x["gt_boxes"]))
        return given

    def _send(self, boxes: Boxes) -> Boxes:
        return Boxes(send(boxes.tensor, self.device))

    def _add_embeddings(
        self, images: ImageList, features: dict[str, torch.Tensor], outputs: list[dict]
    ) -> None:
        """Add embeddings to all Instances of each image's output that have none."""
        lacking = [[x for x in output.values() if not x.has("embeddings")] for output in outputs]
        instances = [x for group in lacking for x in group]
        if not instances:
            return
        no_boxes = Boxes(instances[0].pred_boxes.tensor[:0])
        boxes = [Boxes.cat([no_boxes, *(x.pred_boxes for x in group)]) for group in lacking]
        embeddings = self.embed(images, features, boxes)
        counts = [len(x) for x in instances]
        for x, rows in zip(instances, embeddings.split(counts), strict=True):
            x.embeddings = rows


def _postprocess(
    outputs: list[dict[str, Instances]], sizes: list[tuple[int, int]]
) -> list[dict[str, Instances]]:
    """Scale the boxes of images to images of `sizes`, and drop detections that become empty."""
    scaled = [
        {name: _scale(instances, size) for name, instances in output.items()}
        for output, size in zip(outputs, sizes, strict=True)
    ]
    detections = _drop_empty([output["instances"] for output in scaled])
    return [{**output, "instances": x} for output, x in zip(scaled, detections, strict=True)]


def _drop_empty(detections: list[Instances]) -> list[Instances]:
    """Drop empty boxes; the host waits for a GPU once."""
    kept = [x.pred_boxes.nonempty() for x in detections]
    if len(kept) == 1:  # the form that can be traced
        return [detections[0][kept[0].nonzero()[:, 0]]]
    masks = torch.cat(kept).cpu().split([len(x) for x in detections])
    return [
        x if mask.all() else x[mask.nonzero()[:, 0]]
        for x, mask in zip(detections, masks, strict=True)
    ]


def _scale(instances: Instances, size: tuple[int, int]) -> Instances:
    """Return a copy scaled to an image of `size`.

    Detectron2's detector_postprocess does the same, but waits nine times for the GPU.
    """
    boxes = instances.pred_boxes.clone()
    height, width = size
    boxes.scale(width / instances.image_size[1], height / instances.image_size[0])
    boxes.tensor[:, 0::2].clamp_(0, width)
    boxes.tensor[:, 1::2].clamp_(0, height)
    return Instances(size, **{**instances.get_fields(), "pred_boxes": boxes})
