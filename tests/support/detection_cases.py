"""Detectors with random weights, batches for them, and comparisons of their outputs."""

import torch
from detectron2.modeling import build_model
from torch import nn

from benchmarks.speed.inputs import generate_inputs

_CLASSES = ["MODEL.ROI_HEADS.NUM_CLASSES", "3", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.01"]
DETECTORS = {
    "crop": [],
    "shared": ["MODEL.REID.NAME", "SharedBranch"],
    "three classes": _CLASSES,
    "one box for all classes": [*_CLASSES, "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "True"],
    "sampled bins": ["MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO", "2"],
    "large proposals": [
        "MODEL.PROPOSAL_GENERATOR.MIN_SIZE",
        "30",
        "TEST.DETECTIONS_PER_IMAGE",
        "3",
    ],
    "all detections": ["TEST.DETECTIONS_PER_IMAGE", "-1"],
    "none": ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "1.0"],
}
"""KEY VALUE pairs of detectors that differ in what follows their networks."""


def build_spread_model(cfg):
    """Return a model with random weights whose scores and boxes differ widely."""
    model = build_model(cfg).eval()
    with torch.no_grad():
        for layer in model.modules():
            if hasattr(layer, "running_var"):
                layer.running_mean.uniform_(-0.2, 0.2)
                layer.running_var.uniform_(0.5, 2)
                layer.bias.uniform_(-0.2, 0.2)
        head, predictor = model.proposal_generator.rpn_head, model.roi_heads.box_predictor
        nn.init.normal_(head.objectness_logits.weight, std=0.1)
        nn.init.normal_(head.anchor_deltas.weight, std=0.01)
        nn.init.normal_(predictor.cls_score.weight, std=0.02)
        nn.init.normal_(predictor.bbox_pred.weight, std=0.1)
    return model


def generate_batch():
    """Return three inputs, of two sizes."""
    return [
        *generate_inputs(2, size=(96, 128), boxes=3),
        *generate_inputs(1, size=(80, 100), boxes=2),
    ]


def assert_equal_outputs(one, other, tolerance=1e-4):
    """Compare two models' outputs of a batch."""
    for x, y in zip(one, other, strict=True):
        assert set(x) == set(y)
        for name in x:
            assert_equal_instances(x[name], y[name], tolerance)


def assert_equal_instances(x, y, tolerance=1e-4):
    """Compare Instances; `tolerance` is that of scores and embeddings."""
    assert len(x) == len(y) and x.image_size == y.image_size
    assert set(x.get_fields()) == set(y.get_fields())
    for field, value in x.get_fields().items():
        given = y.get(field)
        if field == "pred_boxes":
            torch.testing.assert_close(value.tensor, given.tensor, atol=100 * tolerance, rtol=0)
        else:
            torch.testing.assert_close(value, given, atol=tolerance, rtol=0)
