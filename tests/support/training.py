"""Training runs of tests, with the loss of every iteration, and what a resumed run leaves."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from detectron2.engine import HookBase
from detectron2.utils import comm

from clsa_search.engine import PersonSearchTrainer
from clsa_search.evaluation import load_predictions

SIX_STEPS = [
    *("SOLVER.MAX_ITER", "6", "SOLVER.CHECKPOINT_PERIOD", "3"),
    *("SOLVER.WARMUP_ITERS", "4", "SOLVER.STEPS", "(5,)"),
]
"""Six iterations with warm-up, a step of the learning rate and two checkpoints."""


class Losses(HookBase):
    """The total loss of every iteration, on the main process."""

    def __init__(self):
        self.by_iteration = {}

    def after_step(self):
        if comm.is_main_process():
            latest = self.trainer.storage.latest()
            self.by_iteration[self.trainer.iter] = latest["total_loss"][0]


def train(cfg, *, resume=False):
    """Train; return the trainer and {iteration: total loss}."""
    trainer = PersonSearchTrainer(cfg)
    losses = Losses()
    trainer.register_hooks([losses])
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer, losses.by_iteration


CLOCKS = {"time", "data_time", "eta_seconds"}


def read_metrics(folder):
    """Return the lines of metrics.json without times."""
    lines = map(json.loads, (Path(folder) / "metrics.json").read_text().splitlines())
    return [{key: value for key, value in line.items() if key not in CLOCKS} for line in lines]


def check_equal(folder, expected):
    """Check that a run left the same metrics, weights, curves and predictions as another."""
    assert read_metrics(folder) == read_metrics(expected)
    one, two = (torch.load(path / "model_final.pth")["model"] for path in (folder, expected))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert (folder / "last_checkpoint").read_text() == "model_final.pth"
    assert (folder / "curves.png").is_file()
    one, two = (
        load_predictions(next(path.glob("inference/*/predictions.npz")))
        for path in (folder, expected)
    )
    np.testing.assert_array_equal(
        one.detections.values.embeddings, two.detections.values.embeddings
    )


def resume_copy(cfg, source, folder, checkpoint, *, lines=None, without=()):
    """Resume a copy of a run from one of its checkpoints, as a kill would have left it."""
    shutil.copytree(source, folder)
    (folder / "last_checkpoint").write_text(checkpoint)
    for name in without:
        (folder / name).unlink()
    written = (folder / "metrics.json").read_text().splitlines(keepends=True)
    (folder / "metrics.json").write_text("".join(written[:lines]))
    cfg = cfg.clone()
    cfg.OUTPUT_DIR = str(folder)
    return train(cfg, resume=True)[1]
