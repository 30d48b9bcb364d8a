"""NAE and SeqNet: the norm of an embedding is the score of its box, its direction the identity.

Norm-aware embedding: Chen et al., CVPR 2020. Sequential heads: Li and Miao, AAAI 2021. Both are for
inference with public weights.

N images, R boxes over all images, L levels, C channels and D embedding width of a level.
"""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import (
    META_ARCH_REGISTRY,
    build_backbone,
    build_proposal_generator,
    build_roi_heads,
)
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from detectron2.structures import Boxes, ImageList, Instances
from torch import nn
from torch.nn import functional as F

from clsa_search.errors import InputError
from clsa_search.modeling.anchors import use_quiet_anchors
from clsa_search.modeling.person_search_rcnn import PersonSearchRCNN
from clsa_search.modeling.reid_branch import build_reid_branch

_SIZE_DIVISIBILITY = 32  # torchvision's; padding reaches the features at the border of an image


class NormAwareHeads(nn.Module):
    """Embeddings, scores and box deltas of the feature maps of boxes.

    The batch norms of the public networks are part of the linear layers.

    Args:
        input_shape: channels of each level, lowest level first.
        embed_dim: width D of a level's part of the embedding.
    """

    def __init__(self, input_shape: dict[str, ShapeSpec], embed_dim: int) -> None:
        super().__init__()
        self.projectors = nn.ModuleDict(
            {level: nn.Linear(shape.channels, embed_dim) for level, shape in input_shape.items()}
        )
        self.rescaler = nn.Linear(1, 1)
        *_, (self.top_level, top_shape) = input_shape.items()
        self.bbox_pred = nn.Linear(top_shape.channels, 4)

    def forward(self, level_features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Compute {level: embeddings (R, D)} from {level: feature maps (R, C, h, w)}."""
        return {
            level: projector(_pool(level_features[level]))
            for level, projector in self.projectors.items()
        }

    @staticmethod
    def concatenate(embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Concatenate the embeddings of all levels to unit rows (R, L * D)."""
        return F.normalize(torch.cat(list(embeddings.values()), dim=1), dim=1)

    def score(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the scores (R,) of boxes, from the norms of their embeddings."""
        norms = torch.cat(list(embeddings.values()), dim=1).norm(dim=1, keepdim=True)
        return self.rescaler(norms)[:, 0].sigmoid()

    def regress(self, level_features: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the deltas (R, 4) that refine boxes."""
        return self.bbox_pred(_pool(level_features[self.top_level]))


@META_ARCH_REGISTRY.register()
class NAE(PersonSearchRCNN):
    """A C4 detector whose head classifies, refines and embeds proposals together.

    An embedding of a detection is that of its proposal, before the box is refined. A given box is
    embedded as it is.

    Args:
        box_transform: coder of the refined boxes.
        min_score: detections with a lower score are dropped.
        max_iou: the less confident of two detections with a larger IoU is dropped.
        max_detections: number of detections of an image at most.
        model: other arguments of PersonSearchRCNN.
    """

    is_trainable = False
    reid_heads: NormAwareHeads  # type: ignore[assignment]

    @configurable
    def __init__(
        self,
        *,
        box_transform: Box2BoxTransform,
        min_score: float,
        max_iou: float,
        max_detections: int,
        **model: object,
    ) -> None:
        super().__init__(**model)
        self.box_transform = box_transform
        self.min_score = min_score
        self.max_iou = max_iou
        self.max_detections = max_detections

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Return the constructor arguments for a config."""
        cfg = use_quiet_anchors(cfg)
        backbone = build_backbone(cfg)
        branch = build_reid_branch(cfg, backbone.output_shape())
        return {
            "backbone": backbone,
            "proposal_generator": build_proposal_generator(cfg, backbone.output_shape()),
            "roi_heads": cls.build_first_heads(cfg, backbone.output_shape()),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "input_format": cfg.INPUT.FORMAT,
            "reid_branch": branch,
            "reid_heads": NormAwareHeads(branch.output_shape(), cfg.MODEL.REID.HEAD.EMBED_DIM),
            "reid_criterion": nn.Identity(),
            "proposals_per_image": 0,
            "box_transform": Box2BoxTransform(cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS),
            "min_score": cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST,
            "max_iou": cfg.MODEL.REID.NMS_THRESH_TEST,
            "max_detections": cfg.TEST.DETECTIONS_PER_IMAGE,
        }

    @classmethod
    def build_first_heads(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
        """Return the ROI heads before the norm-aware ones; NAE has none."""
        return nn.Identity()

    def forward(self, batched_inputs: list[dict]) -> list[dict]:
        """Return the outputs of `inference`.

        Raises:
            InputError: the model is in training mode.
        """
        if self.training:
            raise InputError(
                f"{type(self).__name__} searches with public weights and cannot be trained here; "
                "expected MODEL.META_ARCHITECTURE PersonSearchRCNN"
            )
        return self.inference(batched_inputs)

    def preprocess_image(self, batched_inputs: list[dict]) -> ImageList:
        """Normalize and pad images as torchvision does; see PersonSearchRCNN."""
        images = super().preprocess_image(batched_inputs)
        height, width = images.tensor.shape[-2:]
        padding = (0, -width % _SIZE_DIVISIBILITY, 0, -height % _SIZE_DIVISIBILITY)
        return ImageList(F.pad(images.tensor, padding), images.image_sizes)

    def detect(self, images: ImageList) -> tuple[dict[str, torch.Tensor], list[Instances]]:
        """Detect people and compute their embeddings; see PersonSearchRCNN.

        Returns:
            The feature maps, and per image Instances with pred_boxes, scores, pred_classes and
            embeddings.
        """
        features = self.extract_features(images)
        proposals, _ = self.proposal_generator(images, features)
        boxes, scores = self.select_boxes(images, features, proposals)
        return features, self.refine(images, features, boxes, scores)

    def select_boxes(
        self, images: ImageList, features: dict[str, torch.Tensor], proposals: list[Instances]
    ) -> tuple[list[Boxes], torch.Tensor | None]:
        """Return the boxes that the norm-aware heads refine, and their scores.

        Returns:
            Boxes per image, R in all, and scores (R,); None for scores by the norms.
        """
        return [x.proposal_boxes for x in proposals], None

    def refine(
        self,
        images: ImageList,
        features: dict[str, torch.Tensor],
        boxes: list[Boxes],
        scores: torch.Tensor | None,
    ) -> list[Instances]:
        """Refine boxes, and compute the embeddings of the boxes as they were; see `detect`."""
        counts = [len(x) for x in boxes]
        level_features = self.reid_branch(images, features, boxes)
        deltas = self.reid_heads.regress(level_features)
        refined = self.box_transform.apply_deltas(deltas, Boxes.cat(boxes).tensor)
        embeddings = self.reid_heads(level_features)
        if scores is None:
            scores = self.reid_heads.score(embeddings)
        detections, kept = fast_rcnn_inference(
            refined.split(counts),
            torch.stack([scores, 1 - scores], dim=1).split(counts),
            images.image_sizes,
            self.min_score,
            self.max_iou,
            self.max_detections,
        )
        rows = self.reid_heads.concatenate(embeddings).split(counts)
        for x, own, indices in zip(detections, rows, kept, strict=True):
            x.embeddings = own[indices]
        return detections


@META_ARCH_REGISTRY.register()
class SeqNet(NAE):
    """NAE on the detections of a first head, whose scores remain."""

    @classmethod
    def build_first_heads(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
        """Return the ROI heads of MODEL.ROI_HEADS.NAME."""
        return build_roi_heads(cfg, input_shape)

    def select_boxes(
        self, images: ImageList, features: dict[str, torch.Tensor], proposals: list[Instances]
    ) -> tuple[list[Boxes], torch.Tensor | None]:
        """Return the detections of the first heads; see `NAE`."""
        found, _ = self.roi_heads(images, features, proposals)
        return [x.pred_boxes for x in found], torch.cat([x.scores for x in found])


def _pool(maps: torch.Tensor) -> torch.Tensor:
    return maps.amax(dim=(2, 3))
