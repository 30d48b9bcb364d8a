"""Speed of inference, plain and optimized, and growth of the model's cost."""

import json

import cv2
import pytest
import torch

from benchmarks.speed.inference import measure_inference
from benchmarks.speed.model_growth import (
    measure_boxes,
    measure_identities,
    measure_image_sizes,
)
from tests.support.tiny import load_tool

CPU = torch.device("cpu")
SIZE = (72, 96)
HOW = {"device": CPU, "repeat": 1, "size": SIZE}


def test_parts_and_whole_are_measured_plain_and_optimized(tiny_cfg):
    measurements = list(
        measure_inference(tiny_cfg, **HOW, batch_sizes=(1, 2), dtypes=("float32", "bfloat16"))
    )
    names = [m.name for m in measurements]
    assert len(set(names)) == 3 * (1 + 2 * 2)
    assert "whole model, plain, batch 1" in names
    works = {measurement.name: measurement.operations for measurement in measurements}
    for kind in ("plain, batch 1", "optimized, float32, batch 2", "optimized, bfloat16, batch 1"):
        detector, branch, whole = (
            works[f"{part}, {kind}"] for part in ("detector", "re-ID branch", "whole model")
        )
        assert whole.flops == detector.flops + branch.flops  # the parts make the whole
        assert min(detector.flops, branch.flops) > 0
    plain, optimized = measurements[2], measurements[5]
    assert plain.notes == {"speedup": 1}
    assert optimized.notes["speedup"] == pytest.approx(plain.seconds / optimized.seconds)


def test_cost_grows_with_boxes_as_the_branch_does(tiny_cfg):
    measurements = list(measure_boxes(tiny_cfg, [1, 2, 11], **HOW, until=101))
    assert [m.notes["boxes"] for m in measurements] == [1, 2, 11, 101]
    one, two, many, beyond = (measurement.operations.flops for measurement in measurements)
    assert many - two == 9 * (two - one) > 0
    assert beyond == pytest.approx(one + 100 * (two - one), rel=1e-3)


def test_images_keep_their_aspect_ratio(tiny_cfg):
    measurements = list(measure_image_sizes(tiny_cfg, [48, 96, 192], **HOW, boxes=2))
    assert [m.notes["pixels"] for m in measurements] == [
        48 * 64,
        96 * 128,
        192 * 256,
    ]
    small, middle, large = (measurement.operations.flops for measurement in measurements)
    # backbones grow with the pixels; crops and the box head do not
    assert large - middle == pytest.approx(4 * (middle - small), rel=0.2)


def test_identities_cost_their_products(tiny_cfg):
    measurements = list(measure_identities(tiny_cfg, [10, 20, 1010], **HOW, batch=1, boxes=2))
    ten, twenty, many = (measurement.operations.flops for measurement in measurements)
    assert many - twenty == pytest.approx(99 * (twenty - ten), rel=1e-6)
    boxes = 2 + tiny_cfg.MODEL.REID.PROPOSALS_PER_IMAGE
    levels, width = len(tiny_cfg.MODEL.REID.LEVELS), tiny_cfg.MODEL.REID.HEAD.EMBED_DIM
    # forward, and backward to embeddings and to weights, a multiply-add is two
    assert twenty - ten == 10 * boxes * levels * width * 2 * 3


@pytest.mark.parametrize(
    "command",
    [
        "inference --batch-sizes 2 --dtypes bfloat16",
        "growth --of boxes --sizes 1 2 3",
        "growth --of image-size --sizes 48 64 96",
        "growth --of identities --sizes 5 6 7 --batch 1",
    ],
)
def test_the_command_measures_the_model(demo_config_file, tiny_opts, tmp_path, capsys, command):
    elsewhere = ["MODEL.DEVICE", "cuda"]  # --device overrides it
    argv = [*command.split(), "--config-file", demo_config_file, "--opts", *tiny_opts, *elsewhere]
    how = ["--size", "72", "96", "--boxes", "2", "--repeat", "1", "--device", "cpu"]
    plot = ["--plot", str(tmp_path / "b.png")] if "growth" in command else []
    load_tool("benchmark").main([*argv, *how, *plot, "--json", str(tmp_path / "b.json")])
    document = json.loads((tmp_path / "b.json").read_text())
    rows = document[command.split()[0]]
    assert len(rows) == (6 if "inference" in command else 3)
    assert all(row["seconds"] > 0 and row["limit_seconds"] > 0 for row in rows)
    assert not plot or cv2.imread(plot[1]).std() > 10  # not blank
    assert capsys.readouterr().out.count("| ") > len(rows)
