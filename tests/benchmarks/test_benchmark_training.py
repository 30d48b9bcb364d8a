"""Speed of training steps and of the loader."""

import os

import pytest
import torch

from benchmarks.speed.inputs import build_random_model, generate_inputs, write_images
from benchmarks.speed.measurement import Measurement
from benchmarks.speed.timing import double_up_to
from benchmarks.speed.training import Step, compare_loaders, measure_loader, measure_training
from clsa_search.data import get_records
from clsa_search.errors import InputError
from tests.support.tiny import load_tool

CPU = torch.device("cpu")
SIZE = (72, 96)


@pytest.fixture
def step(tiny_cfg):
    return Step(tiny_cfg, device=CPU, batch=2, size=SIZE, boxes=3, identities=5)


def test_a_step_keeps_the_weights_and_embeds_boxes_and_proposals(step, tiny_cfg):
    model = step.model
    before = {name: value.clone() for name, value in model.named_parameters()}
    step()
    step()
    assert step.embedded == 2 * (3 + tiny_cfg.MODEL.REID.PROPOSALS_PER_IMAGE)
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name])
    gradients = [p.grad.abs().sum() for n, p in model.named_parameters() if "reid" in n]
    assert sum(gradients) > 0


def test_a_random_model_has_the_requested_detections(tiny_cfg):
    inputs = generate_inputs(2, size=SIZE, boxes=3)
    with torch.no_grad():
        for count in (0, 4):
            model = build_random_model(tiny_cfg, CPU, detections=count)
            assert [len(output["instances"]) for output in model(inputs)] == [count, count]


def test_written_images_are_a_dataset(tmp_path):
    records = get_records(str(write_images(tmp_path, 3, size=SIZE, boxes=2)))
    assert [(r["height"], r["width"], len(r["annotations"])) for r in records] == [(*SIZE, 2)] * 3
    assert len({(tmp_path / f"000{i}.jpg").read_bytes() for i in range(3)}) == 3
    large = write_images(tmp_path, 1)
    assert 1.5 < 8 * os.path.getsize(large.parent / "0000.jpg") / (1080 * 1920) < 4  # bits a pixel


def test_each_branch_and_dtype_is_measured_and_the_loader_compared(tiny_cfg, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    options = {"batch": 2, "size": SIZE, "boxes": 2, "device": CPU, "repeat": 1}
    measurements = list(
        measure_training(
            tiny_cfg, branches=["crop", "shared"], dtypes=["float32", "bfloat16"], **options
        )
    )
    *steps, without, one = measurements
    assert [(f.name, f.dtype) for f in steps] == [
        (f"training step, {branch} branch, {dtype}, batch 2", dtype)
        for branch in ("crop", "shared")
        for dtype in ("float32", "bfloat16")
    ]
    assert steps[0].operations.flops > steps[2].operations.flops > 0  # the backbone of the crops
    assert steps[1].notes["speedup"] == steps[0].seconds / steps[1].seconds
    assert [without.notes["workers"], one.notes["workers"]] == [0, 1]
    assert "limits training" in one.notes["verdict"] and "verdict" not in without.notes
    fastest = min(f.seconds for f in steps)
    assert one.notes["speed / fastest step"] == fastest / one.seconds
    with pytest.raises(InputError, match="SOLVER.AMP.DTYPE is 'int8'; expected"):
        list(measure_training(tiny_cfg, branches=["crop"], dtypes=["int8"], **options))


def test_the_loader_is_measured_at_each_number_of_workers(tiny_cfg):
    measurements = list(measure_loader(tiny_cfg, batch=3, workers=[0, 2], size=(48, 64)))
    assert [m.name for m in measurements] == [f"loader alone, {n} workers" for n in (0, 2)]
    assert all(0 < measurement.limit_seconds < measurement.seconds for measurement in measurements)


def judge_last(step, *seconds):
    """The verdict on loaders of 0, 1, 2, ... workers."""
    loaders = [
        Measurement(name="loader", unit="image", seconds=s, notes={"workers": number})
        for number, s in enumerate(seconds)
    ]
    judged = list(compare_loaders(loaders, step))
    assert [f.notes["speed / fastest step"] for f in judged] == [step / s for s in seconds]
    return judged[-1].notes["verdict"]


def test_the_verdict_names_model_or_loader():
    keeps_up = "workers keep up: the model limits training"
    assert judge_last(0.2, 0.1, 0.1, 0.05) == f"1 or more {keeps_up}"
    assert judge_last(0.2, 0.1, 0.3, 0.15) == f"2 or more {keeps_up}"
    assert judge_last(0.01, 0.1, 0.1, 0.05) == (
        "about 10 workers would keep up: the loader limits training"
    )


def test_numbers_of_processes_double_up_to_the_most():
    assert [double_up_to(most) for most in (1, 2, 3, 4, 6)] == [
        *([1], [1, 2], [1, 2, 3], [1, 2, 4], [1, 2, 4, 6])
    ]


@pytest.mark.parametrize(
    ("subject", "option"),
    [("training", "--batch"), ("index", "--images"), ("index", "--threads")],
)
def test_bad_numbers_are_named(subject, option, capsys):
    with pytest.raises(SystemExit):
        load_tool("benchmark").main([subject, option, "0"])
    assert f"error: {option}: 0; expected more than 0" in capsys.readouterr().err
