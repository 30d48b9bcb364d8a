"""The meta-architecture: Detectron2's Faster R-CNN, and a re-ID branch on the boxes it finds.

R boxes over all images, L levels, D embedding width.
"""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from detectron2.structures import Boxes, ImageList, Instances
from torch import nn

from clsa_search.modeling.heads import CLSAHeads
from clsa_search.modeling.reid_branch import build_reid_branch
from clsa_search.modeling.reid_sampling import select_training_boxes


@META_ARCH_REGISTRY.register()
class PersonSearchRCNN(GeneralizedRCNN):
    """Finds people in whole scenes and describes each so that the same person is found again."""

    @configurable
    def __init__(
        self,
        *,
        reid_branch: nn.Module,
        clsa_heads: nn.Module,
        proposals_per_image: int,
        **detector: object,
    ) -> None:
        """
        Args:
            reid_branch: see REID_BRANCH_REGISTRY.
            clsa_heads: level features to losses or embeddings (R, L * D).
            proposals_per_image: see :func:`select_training_boxes`.
            detector: the arguments of GeneralizedRCNN.
        """
        super().__init__(**detector)
        self.reid_branch = reid_branch
        self.clsa_heads = clsa_heads
        self.proposals_per_image = proposals_per_image

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        detector = super().from_config(cfg)
        branch = build_reid_branch(cfg, detector["backbone"].output_shape())
        return {
            **detector,
            "reid_branch": branch,
            "clsa_heads": CLSAHeads(cfg, branch.output_shape()),
            "proposals_per_image": cfg.MODEL.REID.PROPOSALS_PER_IMAGE,
        }

    def forward(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor] | list[dict]:
        """
        Args:
            batched_inputs: what PersonSearchDatasetMapper makes. Per image: `image` (3, H, W);
                in training `instances` (gt_boxes, gt_classes, gt_pids); at inference
                `height`, `width` of the original image and, if it has queries,
                `query_boxes` (Boxes in the frame of `image`) and `query_ids`, and for the
                upper bound `gt_boxes` (Boxes in the frame of `image`).

        Returns:
            In training the losses: loss_rpn_*, loss_cls, loss_box_reg, loss_id_<level>,
            loss_align_<level>. Otherwise see :meth:`inference`.
        """
        if not self.training:
            return self.inference(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        people = [x["instances"].to(self.device) for x in batched_inputs]
        features = self.find_features(images)
        proposals, rpn_losses = self.proposal_generator(images, features, people)
        proposals, detector_losses = self.roi_heads(images, features, proposals, people)
        boxes, pids = select_training_boxes(
            people, proposals, proposals_per_image=self.proposals_per_image
        )
        level_features = self.reid_branch(images, features, boxes)
        reid_losses = self.clsa_heads(level_features, pids)
        return {**rpn_losses, **detector_losses, **reid_losses}

    def inference(
        self,
        batched_inputs: list[dict],
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[dict]:
        """
        Args:
            batched_inputs: as in :meth:`forward`.
            detected_instances: known boxes (pred_boxes, in the frame of `image`) to describe in
                place of the detector's.
            do_postprocess: whether to bring the boxes into the frame of the original image.

        Returns:
            Per image `instances` (pred_boxes, scores, pred_classes, embeddings (R, L * D) unit
            rows); only if the input has `query_ids`, `queries` (pred_boxes, query_ids,
            embeddings); only if it has `gt_boxes`, `gt_people` (pred_boxes, embeddings). Boxes are
            XYXY in pixels.
        """
        images = self.preprocess_image(batched_inputs)
        features = self.find_features(images)
        if detected_instances is None:
            proposals, _ = self.proposal_generator(images, features)
            detected_instances, _ = self.roi_heads(images, features, proposals)
        given = [self._given_boxes(x) for x in batched_inputs]
        boxes = [
            Boxes.cat([found.pred_boxes, queries.pred_boxes, gt_people.pred_boxes])
            for found, (queries, gt_people) in zip(detected_instances, given, strict=True)
        ]
        embeddings = self.clsa_heads(self.reid_branch(images, features, boxes))
        outputs = []
        for x, found, (queries, gt_people), rows in zip(
            batched_inputs,
            detected_instances,
            given,
            embeddings.split([len(b) for b in boxes]),
            strict=True,
        ):
            size = (x["height"], x["width"]) if do_postprocess else None
            found_rows, query_rows, gt_rows = rows.split([len(found), len(queries), len(gt_people)])
            people = _described(found, found_rows, size)
            outputs.append({"instances": _drop_empty(people) if do_postprocess else people})
            if "query_ids" in x:
                outputs[-1]["queries"] = _described(queries, query_rows, size)
            if "gt_boxes" in x:
                outputs[-1]["gt_people"] = _described(gt_people, gt_rows, size)
        return outputs

    def find_features(self, images: ImageList) -> dict[str, torch.Tensor]:
        """The backbone's outputs in float32 under autocast too.

        RoIAlign takes its boxes in the type of the features, and half precision has no pixel to
        spare: bfloat16 would move a box by up to four at 1000.
        """
        return {name: maps.float() for name, maps in self.backbone(images.tensor).items()}

    def _given_boxes(self, x: dict) -> tuple[Instances, Instances]:
        """Return the query boxes and the ground-truth boxes of an input, possibly none."""
        queries, gt_people = (Instances(tuple(x["image"].shape[-2:])) for _ in range(2))
        queries.pred_boxes = x.get("query_boxes", Boxes(torch.empty(0, 4))).to(self.device)
        queries.query_ids = x.get("query_ids", torch.empty(0, dtype=torch.int64)).to(self.device)
        gt_people.pred_boxes = x.get("gt_boxes", Boxes(torch.empty(0, 4))).to(self.device)
        return queries, gt_people


def _described(
    people: Instances, embeddings: torch.Tensor, size: tuple[int, int] | None
) -> Instances:
    """A copy of `people` with their embeddings, brought to an image of `size` where given.

    As Detectron2's postprocessing does it, which on a GPU would wait nine times for each image.
    """
    boxes = people.pred_boxes.clone()
    height, width = size or people.image_size
    if size:
        boxes.scale(width / people.image_size[1], height / people.image_size[0])
        boxes.tensor[:, 0::2].clamp_(0, width)
        boxes.tensor[:, 1::2].clamp_(0, height)
    fields = {**people.get_fields(), "pred_boxes": boxes, "embeddings": embeddings}
    return Instances((height, width), **fields)


def _drop_empty(people: Instances) -> Instances:
    """Without those of whom rounding left no pixel."""
    return people[people.pred_boxes.nonempty().nonzero()[:, 0]]
