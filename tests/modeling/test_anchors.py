"""The anchors are Detectron2's, and no warning comes with them."""

import warnings

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator

from clsa_search.modeling.anchors import QuietAnchorGenerator


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_the_anchors_are_those_of_detectron2(offset):
    options = {"sizes": [[32, 64], [128, 256]], "aspect_ratios": [[1.0, 2.0]], "strides": [4, 8]}
    maps = [torch.zeros(2, 8, 5, 7), torch.zeros(2, 8, 3, 1)]
    expected = DefaultAnchorGenerator(**options, offset=offset)(maps)
    found = QuietAnchorGenerator(**options, offset=offset)(maps)
    for a, b in zip(expected, found, strict=True):
        assert torch.equal(a.tensor, b.tensor)


def test_a_model_uses_them_without_a_change_of_its_config(tiny_cfg):
    model = build_model(tiny_cfg).eval()
    assert tiny_cfg.MODEL.ANCHOR_GENERATOR.NAME == "DefaultAnchorGenerator"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model([{"image": torch.zeros(3, 64, 64, dtype=torch.uint8)}])
