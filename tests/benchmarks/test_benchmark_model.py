"""Speed of inference, plain and optimized."""

import json

import pytest
import torch

from benchmarks.speed.inference import measure_inference
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


def test_the_command_measures_the_model(demo_config_file, tiny_opts, tmp_path, capsys):
    elsewhere = ["MODEL.DEVICE", "cuda"]  # --device overrides it
    argv = ["inference", "--config-file", demo_config_file, "--opts", *tiny_opts, *elsewhere]
    how = "--batch-sizes 2 --dtypes bfloat16 --size 72 96 --boxes 2 --repeat 1 --device cpu".split()
    load_tool("benchmark").main([*argv, *how, "--json", str(tmp_path / "b.json")])
    rows = json.loads((tmp_path / "b.json").read_text())["inference"]
    assert len(rows) == 6
    assert all(row["seconds"] > 0 and row["limit_seconds"] > 0 for row in rows)
    assert capsys.readouterr().out.count("| ") > len(rows)
