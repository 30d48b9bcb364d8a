"""ROI heads that find people with a detector of many classes.

R boxes, C public classes without the background, K = 1 class of ours: the person.
"""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_HEADS_REGISTRY, StandardROIHeads
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from detectron2.structures import Instances

from clsa_search.errors import InputError


class PersonOutputLayers(FastRCNNOutputLayers):
    """The predictor of a detector of C classes, read as person or background.

    The score of a person is its share of the softmax over all classes: a car is background. The
    losses compare the person with all other classes together, so that training starts from the
    detector as it is. The other classes suppress no person, and take no place among the detections
    of an image.

    Args:
        input_shape: shape of the features of a box.
        pretrained_classes: C.
        person_class: position of the person among them.
        predictor: other arguments of FastRCNNOutputLayers.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        pretrained_classes: int,
        person_class: int,
        **predictor: object,
    ) -> None:
        super().__init__(input_shape, **{**predictor, "num_classes": pretrained_classes})
        self.num_classes = 1
        self.person_class = person_class

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        """Return the constructor arguments for a config."""
        heads = cfg.MODEL.ROI_HEADS
        if heads.PERSON_CLASS >= heads.PRETRAINED_CLASSES:
            raise InputError(
                f"MODEL.ROI_HEADS.PERSON_CLASS is {heads.PERSON_CLASS}; expected a number below "
                f"PRETRAINED_CLASSES, {heads.PRETRAINED_CLASSES}"
            )
        return {
            **super().from_config(cfg, input_shape),
            "pretrained_classes": heads.PRETRAINED_CLASSES,
            "person_class": heads.PERSON_CLASS,
        }

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits (R, C + 1) of all classes and the deltas (R, 4) of the person."""
        logits, deltas = super().forward(x)
        if deltas.shape[1] > 4:  # otherwise all classes share them
            first = 4 * self.person_class
            deltas = deltas[:, first : first + 4]
        return logits, deltas

    def losses(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: list[Instances]
    ) -> dict[str, torch.Tensor]:
        """Return the losses of person against background; see FastRCNNOutputLayers."""
        logits, deltas = predictions
        person = logits[:, self.person_class]
        others = [logits[:, : self.person_class], logits[:, self.person_class + 1 :]]
        background = torch.cat(others, dim=1).logsumexp(dim=1)
        return super().losses((torch.stack([person, background], dim=1), deltas), proposals)

    def predict_probs(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: list[Instances]
    ) -> list[torch.Tensor]:
        """Return the scores (R, 2) of person and background of each image."""
        person = predictions[0].softmax(dim=-1)[:, self.person_class]
        scores = torch.stack([person, 1 - person], dim=1)
        return list(scores.split([len(x) for x in proposals]))


@ROI_HEADS_REGISTRY.register()
class PersonROIHeads(StandardROIHeads):
    """StandardROIHeads with the predictor of a detector of many classes.

    Its classes are MODEL.ROI_HEADS.PRETRAINED_CLASSES and PERSON_CLASS.
    """

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        parts = super()._init_box_head(cfg, input_shape)
        parts["box_predictor"] = PersonOutputLayers(cfg, parts["box_head"].output_shape)
        return parts
