"""Inference that is measured, plain and tuned, and how the model's cost grows."""

import json

import cv2
import pytest
import torch

from benchmarks.speed.inference import measure_inference
from benchmarks.speed.model_growth import (
    measure_identities,
    measure_people,
    measure_pictures,
)
from tests.support.tiny import load_tool

CPU = torch.device("cpu")
SIZE = (72, 96)
HOW = {"device": CPU, "repeat": 1, "size": SIZE}


def test_parts_and_whole_are_measured_plain_and_tuned(tiny_cfg):
    figures = list(
        measure_inference(tiny_cfg, **HOW, batch_sizes=(1, 2), dtypes=("float32", "bfloat16"))
    )
    names = [figure.name for figure in figures]
    assert len(set(names)) == 3 * (1 + 2 * 2)
    assert "whole model, plain, batch 1" in names
    works = {figure.name: figure.operations for figure in figures}
    for kind in ("plain, batch 1", "tuned, float32, batch 2", "tuned, bfloat16, batch 1"):
        detector, branch, whole = (
            works[f"{part}, {kind}"] for part in ("detector", "re-ID branch", "whole model")
        )
        assert whole.flops == detector.flops + branch.flops  # the parts make the whole
        assert min(detector.flops, branch.flops) > 0
    plain, tuned = figures[2], figures[5]
    assert plain.notes == {"times plain": 1}
    assert tuned.notes["times plain"] == pytest.approx(plain.seconds / tuned.seconds)


def test_cost_grows_with_people_as_the_branch_does(tiny_cfg):
    figures = list(measure_people(tiny_cfg, [1, 2, 11], **HOW, until=101))
    assert [figure.notes["people"] for figure in figures] == [1, 2, 11, 101]
    one, two, many, beyond = (figure.operations.flops for figure in figures)
    assert many - two == 9 * (two - one) > 0
    assert beyond == pytest.approx(one + 100 * (two - one), rel=1e-3)


def test_pictures_keep_their_shape(tiny_cfg):
    figures = list(measure_pictures(tiny_cfg, [48, 96, 192], **HOW, people=2))
    assert [figure.notes["pixels"] for figure in figures] == [48 * 64, 96 * 128, 192 * 256]
    small, middle, large = (figure.operations.flops for figure in figures)
    # backbones grow with the pixels; crops and the box head do not
    assert large - middle == pytest.approx(4 * (middle - small), rel=0.2)


def test_identities_cost_their_products(tiny_cfg):
    figures = list(measure_identities(tiny_cfg, [10, 20, 1010], **HOW, batch=1, people=2))
    ten, twenty, many = (figure.operations.flops for figure in figures)
    assert many - twenty == pytest.approx(99 * (twenty - ten), rel=1e-6)
    boxes = 2 + tiny_cfg.MODEL.REID.PROPOSALS_PER_IMAGE
    levels, width = len(tiny_cfg.MODEL.REID.LEVELS), tiny_cfg.MODEL.REID.HEAD.EMBED_DIM
    # forward, and backward to embeddings and to weights, a multiply-add is two
    assert twenty - ten == 10 * boxes * levels * width * 2 * 3


@pytest.mark.parametrize(
    "command",
    [
        "inference --batch-sizes 2 --dtypes bfloat16",
        "growth --of people --sizes 1 2 3",
        "growth --of pictures --sizes 48 64 96",
        "growth --of identities --sizes 5 6 7 --batch 1",
    ],
)
def test_the_command_measures_the_model(demo_config_file, tiny_opts, tmp_path, capsys, command):
    elsewhere = ["MODEL.DEVICE", "cuda"]  # as in the configs: --device decides
    argv = [*command.split(), "--config-file", demo_config_file, "--opts", *tiny_opts, *elsewhere]
    how = ["--size", "72", "96", "--people", "2", "--repeat", "1", "--device", "cpu"]
    plot = ["--plot", str(tmp_path / "b.png")] if "growth" in command else []
    load_tool("benchmark").main([*argv, *how, *plot, "--json", str(tmp_path / "b.json")])
    document = json.loads((tmp_path / "b.json").read_text())
    rows = document[command.split()[0]]
    assert len(rows) == (6 if "inference" in command else 3)
    assert all(row["seconds"] > 0 and row["limit_seconds"] > 0 for row in rows)
    assert not plot or cv2.imread(plot[1]).std() > 10  # something is drawn
    assert capsys.readouterr().out.count("| ") > len(rows)
