"""Inference on a GPU: fused, batched and recorded, with the results of the plain model."""

import copy
import warnings

import pytest
import torch
from detectron2.layers import Conv2d
from torch.nn import functional as F

from benchmarks.speed.inputs import generate_inputs, with_options
from clsa_search.engine import load_config
from clsa_search.modeling.gpu_ops import conv_relu
from clsa_search.modeling.graphs import RecordedFunction
from clsa_search.modeling.optimize import optimize_for_inference
from tests.support.detection_cases import (
    DETECTORS,
    assert_equal_outputs,
    build_spread_model,
    generate_batch,
)

pytestmark = pytest.mark.gpu
HALVES = [torch.float16, torch.bfloat16]


@pytest.fixture
def exact(monkeypatch):
    """Compute convolutions and products in float32, not in TF32."""
    monkeypatch.setattr("torch.backends.cudnn.allow_tf32", False)
    monkeypatch.setattr("torch.backends.cuda.matmul.allow_tf32", False)


@pytest.fixture
def gpu_cfg(tiny_cfg):
    return with_options(tiny_cfg, "MODEL.DEVICE", "cuda")


def poison():
    """Fill the GPU memory that is allocated next with NaN."""
    blocks = [torch.full((size,), torch.nan, device="cuda") for size in (2**14, 2**18, 2**22)]
    del blocks


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize(
    ("channels", "settings"),
    [
        ((3, 64), {"kernel_size": 7, "stride": 2, "padding": 3}),
        ((64, 64), {"kernel_size": 1}),
        ((64, 128), {"kernel_size": 3, "stride": 2, "padding": 1}),
        ((64, 64), {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 4}),
        ((4, 16), {"kernel_size": 1}),
    ],
)
def test_a_fused_convolution_equals_the_plain_one(exact, dtype, channels, settings):
    conv = Conv2d(*channels, **settings).cuda().to(dtype=dtype, memory_format=torch.channels_last)
    maps = torch.randn(2, channels[0], 40, 56, device="cuda", dtype=dtype)
    maps = maps.to(memory_format=torch.channels_last)
    plain = conv(maps).float()
    shortcut = torch.randn_like(conv(maps))
    tolerance = (
        {"atol": 1e-4, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.05, "rtol": 0.05}
    )
    for _ in range(3):
        poison()
        torch.testing.assert_close(conv_relu(maps, conv).float(), plain.relu(), **tolerance)
        poison()
        summed = conv_relu(maps, conv, shortcut).float()
        torch.testing.assert_close(summed, (plain + shortcut.float()).relu(), **tolerance)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize("channels", [(3, 64), (4, 16), (64, 12)])
def test_which_channels_cudnn_can_fuse(record_property, dtype, channels):
    """Report it: the product fuses multiples of eight only."""
    weight = torch.randn(channels[1], channels[0], 3, 3, device="cuda", dtype=dtype)
    maps = torch.randn(2, channels[0], 40, 56, device="cuda", dtype=dtype)
    weight, maps = (x.to(memory_format=torch.channels_last) for x in (weight, maps))
    bias = torch.randn(channels[1], device="cuda", dtype=dtype)
    poison()
    try:
        fused = torch.cudnn_convolution_relu(maps, weight, bias, (1, 1), (1, 1), (1, 1), 1)
        error = (fused - F.conv2d(maps, weight, bias, padding=1).relu()).abs().max().item()
    except RuntimeError as failure:
        error = str(failure).splitlines()[0]
    print(channels, dtype, error)
    record_property("fused", f"{channels} {dtype}: {error}")


@torch.no_grad()
@pytest.mark.parametrize("kind", DETECTORS)
def test_float32_gives_the_results_of_the_plain_model(exact, gpu_cfg, kind):
    gpu_cfg.merge_from_list(DETECTORS[kind])
    model = build_spread_model(gpu_cfg)
    inputs = generate_batch()
    expected = model(inputs)
    optimize_for_inference(model)
    assert model.batched_detector is not None
    assert_equal_outputs(model(inputs), expected, 1e-3)


@torch.no_grad()
def test_a_gpu_gives_the_results_of_a_cpu(exact, tiny_cfg):
    cpu = build_spread_model(tiny_cfg)
    gpu = copy.deepcopy(cpu).cuda()
    inputs = generate_batch()
    optimize_for_inference(gpu)
    for one, other in zip(gpu(inputs), cpu(inputs), strict=True):
        torch.testing.assert_close(
            one["queries"].embeddings.cpu(), other["queries"].embeddings, atol=1e-3, rtol=0
        )
        assert abs(len(one["instances"]) - len(other["instances"])) <= 1
        torch.testing.assert_close(
            one["instances"].scores[:3].cpu(), other["instances"].scores[:3], atol=1e-3, rtol=0
        )


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize("kind", ["crop", "shared"])
def test_replays_of_several_sizes_in_turn_equal_the_first_calls(gpu_cfg, dtype, kind):
    gpu_cfg.merge_from_list(DETECTORS[kind])
    model = build_spread_model(gpu_cfg)
    optimize_for_inference(model, dtype)
    batches = [
        generate_batch(),
        generate_inputs(1, size=(96, 128), boxes=9),
        generate_inputs(2, size=(128, 96), boxes=1),
    ]
    first = [model(batch) for batch in batches]
    for _ in range(3):  # recordings, then replays
        for batch, expected in zip(batches, first, strict=True):
            assert_equal_outputs(model(batch), expected, 1e-3)
    with torch.inference_mode():
        assert_equal_outputs(model(batches[0]), first[0], 1e-3)


@torch.no_grad()
@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_moves_embeddings_little(gpu_cfg, dtype):
    model = build_spread_model(gpu_cfg)
    inputs = generate_inputs(2, size=(96, 128), boxes=5)
    expected = [output["queries"].embeddings for output in model(inputs)]
    optimize_for_inference(model, dtype)
    for _ in range(3):
        for output, rows in zip(model(inputs), expected, strict=True):
            cosines = (output["queries"].embeddings * rows).sum(dim=1)
            assert output["queries"].embeddings.dtype == torch.float32 and cosines.min() > 0.98


@torch.no_grad()
def test_the_real_model_agrees_with_the_plain_one(exact, demo_config_file):
    config = demo_config_file.replace("clsa_small_synthetic_demo", "clsa_crop_R50_cuhk_sysu")
    cfg = load_config(config, ["MODEL.DEVICE", "cuda", "MODEL.REID.NUM_IDS", "10"])
    model = build_spread_model(cfg)
    inputs = generate_inputs(2, size=(300, 500), boxes=3)
    images = model.preprocess_image(inputs)
    expected = model.extract_features(images)
    rows = [output["queries"].embeddings for output in model(inputs)]
    optimize_for_inference(model)
    for name, maps in model.extract_features(images).items():
        scale = expected[name].abs().max()
        torch.testing.assert_close(maps / scale, expected[name] / scale, atol=1e-3, rtol=0)
    for _ in range(3):
        for output, wanted in zip(model(inputs), rows, strict=True):
            torch.testing.assert_close(output["queries"].embeddings, wanted, atol=1e-3, rtol=0)


@torch.no_grad()
def test_replays_rarely_wait(gpu_cfg):
    """Wait for the number of detections, at the end to drop empty boxes, and for small copies."""
    model = build_spread_model(gpu_cfg)
    optimize_for_inference(model, torch.float16)
    inputs = generate_inputs(4, size=(96, 128), boxes=2)
    for _ in range(3):
        model(inputs)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model(inputs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [str(x.message) for x in caught if "synchroniz" in str(x.message)]
    # 14 on an H100: besides these two, copies of few bytes per image
    assert len(waits) <= 2 + 3 * len(inputs), waits


def test_recordings_are_dropped_with_their_sizes():
    def double(x):
        return {"double": (x[:, None] + x[None]).sum(dim=1)}

    recorded = RecordedFunction(double, capacity=2, max_elements=10**6)
    for _ in range(3):
        for size in (1000, 2000, 3000, 3000, 1000, 1000):
            x = torch.randn(size, device="cuda")
            torch.testing.assert_close(recorded(x)["double"], double(x)["double"])
    before = torch.cuda.memory_allocated()
    del recorded, x
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated() <= before
