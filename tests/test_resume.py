"""A resumed run goes on as if nothing had happened, whenever and however it was ended."""

import json
from pathlib import Path

import pytest
import torch
from training import SIX_STEPS, train

from clsa_search.errors import InputError


@pytest.fixture
def six_steps(tiny_cfg):
    tiny_cfg.merge_from_list([*SIX_STEPS, "DATALOADER.NUM_WORKERS", "1"])
    return tiny_cfg


def test_a_resumed_run_equals_an_uninterrupted_one(six_steps):
    whole, losses = train(six_steps)
    folder = Path(six_steps.OUTPUT_DIR)
    (folder / "last_checkpoint").write_text("model_0000002.pth")
    (folder / "model_final.pth").unlink()
    six_steps.DATALOADER.NUM_WORKERS = 0
    resumed, rest = train(six_steps, resume=True)
    assert set(rest) == {3, 4, 5}
    assert rest == {i: losses[i] for i in rest}, "the same losses, to the last bit"
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


def test_a_finished_run_has_nothing_to_resume(six_steps):
    train(six_steps)
    assert train(six_steps, resume=True)[1] == {}


def test_resuming_another_model_is_refused(six_steps):
    train(six_steps)
    six_steps.MODEL.REID.NUM_IDS = 7
    with pytest.raises(InputError, match="is of another model.*classifiers"):
        train(six_steps, resume=True)


def lines_of(cfg):
    text = (Path(cfg.OUTPUT_DIR) / "metrics.json").read_text()
    return [json.loads(line)["iteration"] for line in text.splitlines()]


def test_metrics_are_written_once(six_steps):
    train(six_steps)
    folder = Path(six_steps.OUTPUT_DIR)
    (folder / "last_checkpoint").write_text("model_0000002.pth")
    kept = '{"iteration": 1, "total_loss": 1.0}\n'
    torn = kept + '{"iteration": 2, "total_{"iteration": 5}\n{"iteration": 4}\n{"iteration": 2, "a'
    (folder / "metrics.json").write_text(torn)
    train(six_steps, resume=True)
    assert lines_of(six_steps) == [1, 5]
