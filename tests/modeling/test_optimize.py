"""The optimized model: the results of the plain one, in the number types of the config."""

import copy
import shutil

import pytest
import torch
from detectron2.layers import ROIAlign
from detectron2.modeling import build_model
from torch import nn
from torch._dynamo.utils import counters

from benchmarks.speed.inputs import build_random_model, generate_inputs
from benchmarks.speed.operations import count_operations
from clsa_search.engine.precision import prepare_for_inference
from clsa_search.modeling.optimize import (
    ParallelROIAlign,
    optimize_for_inference,
    to_contiguous,
)


def randomize_norms(model):
    """Give norms statistics and weights as after training: not 0 and 1."""
    for module in model.modules():
        if hasattr(module, "running_var"):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.2, 0.2)
    return model


@pytest.fixture(params=["crop", "crop, FrozenBN", "shared"])
def model(request, tiny_cfg):
    if request.param == "shared":
        tiny_cfg.MODEL.REID.NAME = "SharedBranch"
    elif "FrozenBN" in request.param:
        tiny_cfg.merge_from_list(["MODEL.RESNETS.NORM", "FrozenBN", "MODEL.FPN.NORM", ""])
    return randomize_norms(build_model(tiny_cfg).eval())


@torch.inference_mode()
def test_float32_gives_the_same_results(model):
    inputs = generate_inputs(3, size=(96, 128), boxes=3)
    expected = model(inputs)
    optimize_for_inference(model)
    assert not any(hasattr(getattr(m, "norm", None), "running_var") for m in model.modules())
    for one, other in zip(model(inputs), expected, strict=True):
        assert len(one["instances"]) == len(other["instances"]) > 0
        for kind, fields in (
            ("instances", ("scores", "embeddings")),
            ("queries", ("embeddings", "query_ids")),
        ):
            torch.testing.assert_close(
                one[kind].pred_boxes.tensor, other[kind].pred_boxes.tensor, atol=1e-3, rtol=0
            )
            for field in fields:
                torch.testing.assert_close(
                    one[kind].get(field), other[kind].get(field), atol=1e-4, rtol=0
                )


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_boxes_scores_and_heads_stay_in_float32(model, dtype):
    inputs = generate_inputs(2, size=(96, 128), boxes=5)
    expected = [output["queries"].embeddings for output in model(inputs)]
    optimize_for_inference(model, dtype)
    assert {p.dtype for p in model.backbone.parameters()} == {dtype}
    exact = [model.reid_heads, model.roi_heads.box_predictor]
    assert {p.dtype for part in exact for p in part.parameters()} == {torch.float32}
    for output, rows in zip(model(inputs), expected, strict=True):
        detections = output["instances"]
        for tensor in (
            detections.scores,
            detections.pred_boxes.tensor,
            output["queries"].embeddings,
        ):
            assert tensor.dtype == torch.float32
        cosines = (output["queries"].embeddings * rows).sum(dim=1)
        assert not output["queries"].embeddings.equal(rows)
        assert cosines.min() > 0.99


@torch.inference_mode()
@pytest.mark.parametrize(
    "opts",
    [
        [
            *("MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.RESNETS.OUT_FEATURES"),
            *("['res4']", "MODEL.RPN.IN_FEATURES", "['res4']", "MODEL.ROI_HEADS.IN_FEATURES"),
            *("['res4']", "MODEL.ROI_HEADS.NAME", "Res5ROIHeads"),
            *("MODEL.ANCHOR_GENERATOR.SIZES", "[[16, 32, 64]]"),
        ],
        [
            *("MODEL.ROI_HEADS.NAME", "CascadeROIHeads"),
            *("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True),
        ],
    ],
    ids=["res5", "cascade"],
)
def test_other_roi_heads_compute_in_half_precision_too(tiny_cfg, opts):
    tiny_cfg.merge_from_list(opts)
    model = randomize_norms(build_model(tiny_cfg).eval())
    optimize_for_inference(model, torch.bfloat16)
    (output,) = model(generate_inputs(1, size=(96, 128), boxes=2))
    assert len(output["instances"]) > 0
    heads = {name.split(".")[0]: p.dtype for name, p in model.roi_heads.named_parameters()}
    assert heads == {
        part: torch.float32 if part == "box_predictor" else torch.bfloat16 for part in heads
    }


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("count", [0, 2, 3, 40])
def test_parallel_roi_align_gives_the_same_regions(monkeypatch, layout, count):
    maps = torch.randn(2, 5, 30, 40).to(memory_format=layout)
    corners = torch.rand(count, 2) * 20
    rois = torch.cat([torch.randint(2, (count, 1)), corners, corners + 9], dim=1)
    plain = ROIAlign((7, 3), 0.5, 0, aligned=True)
    calls = []
    align = ROIAlign.forward
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    monkeypatch.setattr(ROIAlign, "forward", lambda *args: calls.append(1) or align(*args))
    pooled = ParallelROIAlign((7, 3), 0.5, 0, aligned=True)(maps, rois)
    assert len(calls) == (1 if count < 3 else 12)
    assert pooled.equal(plain(maps, rois))


def test_every_roi_align_of_a_model_is_parallel(model):
    optimize_for_inference(model)
    layers = [m for m in model.modules() if isinstance(m, ROIAlign)]
    assert len(layers) > 4 and {type(layer) for layer in layers} == {ParallelROIAlign}


def test_a_convolution_keeps_its_own_bias(model):
    layer = model.reid_heads["res5"].reduce
    layer.bias = nn.Parameter(torch.randn(len(layer.weight)))
    maps = torch.randn(4, layer.in_channels, 1, 1)
    expected = layer(maps)
    optimize_for_inference(model)
    assert layer.norm is None
    torch.testing.assert_close(layer(maps), expected)


def test_an_optimized_model_works_outside_of_no_grad(model):
    inputs = generate_inputs(2, size=(96, 128), boxes=3)
    optimize_for_inference(model)
    assert len(model(inputs)) == 2


def test_channels_last_maps_become_contiguous():
    maps = torch.randn(3, 5, 7, 4)
    copy = to_contiguous(maps.to(memory_format=torch.channels_last))
    assert copy.is_contiguous() and copy.equal(maps)
    assert to_contiguous(maps) is maps
    assert to_contiguous(maps[:0]).shape == (0, 5, 7, 4)


@pytest.mark.skipif(not shutil.which("g++"), reason="torch needs g++ to compile for a CPU")
@torch.inference_mode()
def test_a_compiled_backbone_takes_any_number_of_crops(tiny_cfg):
    tiny_cfg.merge_from_list(["TEST.COMPILE", True])
    model = randomize_norms(build_model(tiny_cfg).eval())
    plain = copy.deepcopy(model)
    prepare_for_inference(model, tiny_cfg)
    counters.clear()
    height, width = tiny_cfg.MODEL.REID.CROP_SIZE
    for count in (4, 3, 1, 0):
        crops = torch.randn(count, 3, height, width)
        expected = plain.reid_branch.forward_crops(crops)
        for level, maps in model.reid_branch.forward_crops(crops).items():
            torch.testing.assert_close(maps, expected[level], atol=1e-4, rtol=1e-4)
    assert 1 < counters["stats"]["unique_graphs"] <= 4
    assert not counters["graph_break"]


def test_inference_rarely_waits_for_the_gpu(tiny_cfg):
    """Wait twelve times per image in Detectron2's RPN and box head, once to drop empty boxes."""
    model = build_random_model(tiny_cfg, torch.device("cpu"))
    inputs = generate_inputs(2, size=(96, 128), boxes=3)
    with torch.no_grad():
        one, two = (count_operations(lambda n=n: model(inputs[:n])).syncs for n in (1, 2))
    assert two - one <= 14
    assert one <= 20
