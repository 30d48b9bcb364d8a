"""The tuned model finds what the plain one finds, in the types that it says."""

import copy
import ctypes
import shutil
import subprocess
import sys

import pytest
import torch
from detectron2.layers import ROIAlign
from detectron2.modeling import build_model
from torch import nn
from torch._dynamo.utils import counters

from benchmarks.speed.inputs import build_random_model, generate_inputs
from benchmarks.speed.operations import count_operations
from clsa_search.engine import memory
from clsa_search.engine.precision import prepare_for_inference, read_test_dtype
from clsa_search.errors import InputError
from clsa_search.modeling import optimize as tuning
from clsa_search.modeling.optimize import ParallelROIAlign, optimize_for_inference

SHARED = ["MODEL.REID.NAME", "SharedBranch"]


def shake_norms(model):
    """Statistics and weights as training leaves them: not 0 and 1."""
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
        tiny_cfg.merge_from_list(SHARED)
    elif "FrozenBN" in request.param:
        tiny_cfg.merge_from_list(["MODEL.RESNETS.NORM", "FrozenBN", "MODEL.FPN.NORM", ""])
    return shake_norms(build_model(tiny_cfg).eval())


@torch.inference_mode()
def test_tuned_in_float32_finds_the_same(model):
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
def test_half_precision_is_where_it_is_safe(model, dtype):
    inputs = generate_inputs(2, size=(96, 128), boxes=5)
    expected = [output["queries"].embeddings for output in model(inputs)]
    optimize_for_inference(model, dtype)
    assert {p.dtype for p in model.backbone.parameters()} == {dtype}
    exact = [model.reid_heads, model.roi_heads.box_predictor]
    assert {p.dtype for part in exact for p in part.parameters()} == {torch.float32}
    for output, rows in zip(model(inputs), expected, strict=True):
        found = output["instances"]
        for tensor in (found.scores, found.pred_boxes.tensor, output["queries"].embeddings):
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
def test_other_heads_compute_in_half_too(tiny_cfg, opts):
    tiny_cfg.merge_from_list(opts)
    model = shake_norms(build_model(tiny_cfg).eval())
    optimize_for_inference(model, torch.bfloat16)
    (output,) = model(generate_inputs(1, size=(96, 128), boxes=2))
    assert len(output["instances"]) > 0
    heads = {name.split(".")[0]: p.dtype for name, p in model.roi_heads.named_parameters()}
    assert heads == {
        part: torch.float32 if part == "box_predictor" else torch.bfloat16 for part in heads
    }


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("count", [0, 2, 3, 40])
def test_regions_cut_by_several_threads_are_the_same(monkeypatch, layout, count):
    maps = torch.randn(2, 5, 30, 40).to(memory_format=layout)
    corners = torch.rand(count, 2) * 20
    rois = torch.cat([torch.randint(2, (count, 1)), corners, corners + 9], dim=1)
    plain = ROIAlign((7, 3), 0.5, 0, aligned=True)
    asked = []
    align = ROIAlign.forward
    monkeypatch.setattr(tuning.torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(ROIAlign, "forward", lambda *args: asked.append(1) or align(*args))
    found = ParallelROIAlign((7, 3), 0.5, 0, aligned=True)(maps, rois)
    assert len(asked) == (1 if count < 3 else 12)
    assert found.equal(plain(maps, rois))


def test_all_of_a_model_is_cut_by_several_threads(model):
    optimize_for_inference(model)
    layers = [m for m in model.modules() if isinstance(m, ROIAlign)]
    assert len(layers) > 4 and {type(layer) for layer in layers} == {ParallelROIAlign}


def test_a_convolution_keeps_its_own_bias(model):
    layer = copy.deepcopy(model.reid_heads["res5"].reduce)
    layer.bias = nn.Parameter(torch.randn(len(layer.weight)))
    maps = torch.randn(4, layer.in_channels, 1, 1)
    expected = layer(maps)
    tuning._simplify_convolutions(layer)
    assert layer.norm is None
    torch.testing.assert_close(layer(maps), expected)


def test_a_tuned_model_answers_with_gradients_on_too(model):
    inputs = generate_inputs(2, size=(96, 128), boxes=3)
    optimize_for_inference(model)
    assert len(model(inputs)) == 2


def test_channels_last_maps_become_contiguous_ones():
    maps = torch.randn(3, 5, 7, 4)
    turned = tuning._put_channels_first(maps.to(memory_format=torch.channels_last))
    assert turned.is_contiguous() and turned.equal(maps)
    assert tuning._put_channels_first(maps) is maps
    assert tuning._put_channels_first(maps[:0]).shape == (0, 5, 7, 4)


@pytest.mark.skipif(not shutil.which("g++"), reason="torch compiles by g++ on a CPU")
@torch.inference_mode()
def test_a_compiled_backbone_describes_any_number_of_crops_alike(tiny_cfg):
    tiny_cfg.merge_from_list(["TEST.COMPILE", True])
    model = shake_norms(build_model(tiny_cfg).eval())
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


def test_what_cannot_be_compiled_is_said(tiny_cfg, monkeypatch):
    tiny_cfg.merge_from_list(["TEST.COMPILE", True])

    def refuse(function):
        def fail(*args):
            raise RuntimeError("backend='inductor' raised:\nInvalidCxxCompiler: no g++\nand so on")

        return fail

    monkeypatch.setattr("torch.compile", refuse)
    model = build_model(tiny_cfg).eval()
    message = r"cannot compile for cpu here \(backend='inductor' raised: InvalidCxxCompiler: no g"
    with pytest.raises(InputError, match=message):
        prepare_for_inference(model, tiny_cfg)
    tiny_cfg.merge_from_list(SHARED)
    with pytest.raises(InputError, match="TEST.COMPILE is True, but SharedBranch has no backbone"):
        prepare_for_inference(build_model(tiny_cfg).eval(), tiny_cfg)


def test_a_host_rarely_waits_for_each_image(tiny_cfg):
    """Twelve times in Detectron2's RPN and box head, and once to leave out boxes of no size."""
    model = build_random_model(tiny_cfg, torch.device("cpu"))
    inputs = generate_inputs(2, size=(96, 128), boxes=3)
    with torch.no_grad():
        one, two = (count_operations(lambda n=n: model(inputs[:n])).syncs for n in (1, 2))
    assert two - one <= 14
    assert one <= 20


def test_wrong_types_are_named(tiny_cfg, monkeypatch):
    assert read_test_dtype(tiny_cfg) is torch.float32
    tiny_cfg.TEST.DTYPE = "half"
    with pytest.raises(InputError, match="TEST.DTYPE is 'half'; expected one of float32, float16"):
        read_test_dtype(tiny_cfg)
    tiny_cfg.TEST.DTYPE = "float16"

    def refuse(*args):
        raise RuntimeError("\"slow_conv2d_cpu\" not implemented for 'Half'")

    monkeypatch.setattr("torch.nn.functional.conv2d", refuse)
    with pytest.raises(InputError, match="float16, but cpu does not support it; expected float32"):
        read_test_dtype(tiny_cfg)


def count_faults(script):
    """Pages that a new process is given, while a block of 64 MB comes and goes twenty times."""
    code = f"""
import resource
import torch
from clsa_search.engine.memory import keep_freed_memory, release_freed_memory
{script}
for _ in range(20):
    torch.ones(1 << 24)
    before = before if _ else resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"),
    reason="only glibc gives memory back at once",
)
def test_freed_memory_is_used_again():
    assert 5 * count_faults("assert keep_freed_memory()") < count_faults("")


def test_another_device_changes_nothing(monkeypatch):
    monkeypatch.setattr(memory, "_find_glibc", None)  # is not asked for
    assert not memory.keep_freed_memory("cuda")
    assert not memory.keep_freed_memory(torch.device("cuda", 1))


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert not memory.keep_freed_memory()
    memory.release_freed_memory()
