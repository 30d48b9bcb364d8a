"""The person's share of the softmax of many classes, at inference and in training."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch.nn import functional as F

from clsa_search.engine import load_config
from clsa_search.errors import InputError
from clsa_search.modeling.person_roi_heads import PersonOutputLayers


def build_predictor(person_class, classes=80):
    torch.manual_seed(0)
    return PersonOutputLayers(
        ShapeSpec(channels=4),
        box2box_transform=Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0)),
        num_classes=1,
        pretrained_classes=classes,
        person_class=person_class,
    )


def test_a_car_is_no_person():
    logits = torch.zeros(1, 81)
    logits[0, 0], logits[0, 2] = 2.0, 10.0  # person, car
    proposals = [Instances((8, 8), proposal_boxes=Boxes(torch.ones(1, 4)))]
    (scores,) = build_predictor(0).predict_probs((logits, torch.zeros(1, 4)), proposals)
    assert scores[0, 0].item() == pytest.approx(0.0003, abs=1e-4)
    assert scores.sum().item() == pytest.approx(1)
    # a predictor of two of the rows would say 0.881
    assert logits[:, [0, 80]].softmax(dim=1)[0, 0].item() == pytest.approx(0.881, abs=1e-3)


@pytest.mark.parametrize("person_class", [0, 3, 79])
def test_boxes_and_losses_are_the_persons(person_class):
    predictor = build_predictor(person_class)
    features = torch.randn(6, 4)
    logits, deltas = predictor(features)
    rows = slice(4 * person_class, 4 * person_class + 4)
    assert logits.shape == (6, 81) and torch.equal(deltas, predictor.bbox_pred(features)[:, rows])
    boxes = Boxes(torch.tensor([[1.0, 1.0, 5.0, 7.0]]).repeat(6, 1))
    classes = torch.tensor([0, 0, 1, 1, 1, 1])  # person, background
    proposals = [Instances((8, 8), proposal_boxes=boxes, gt_boxes=boxes, gt_classes=classes)]
    with EventStorage():
        losses = predictor.losses((logits, deltas), proposals)
    person = logits.softmax(dim=1)[:, person_class]
    expected = F.binary_cross_entropy(person, (classes == 0).float())
    torch.testing.assert_close(losses["loss_cls"], expected)
    # the boxes are right, so all deltas are errors
    torch.testing.assert_close(losses["loss_box_reg"], deltas[:2].abs().sum() / 6)


def test_one_class_is_a_predictor_of_persons():
    predictor = build_predictor(0, classes=1)
    features = torch.randn(3, 4)
    logits, deltas = predictor(features)
    assert torch.equal(deltas, predictor.bbox_pred(features))
    proposals = [Instances((8, 8), proposal_boxes=Boxes(torch.ones(3, 4)))]
    (scores,) = predictor.predict_probs((logits, deltas), proposals)
    torch.testing.assert_close(scores, logits.softmax(dim=1))


def test_the_person_is_one_of_the_classes():
    opts = ["MODEL.ROI_HEADS.PRETRAINED_CLASSES", "80", "MODEL.ROI_HEADS.PERSON_CLASS", "80"]
    with pytest.raises(InputError, match="PERSON_CLASS is 80; expected a number below"):
        PersonOutputLayers(load_config("", opts), ShapeSpec(channels=4))
