"""The files of a resumed run equal those of an uninterrupted one, also after its last iteration."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from clsa_search.engine import PersonSearchTrainer, load_config
from tests.support.training import SIX_STEPS, check_equal, read_metrics, resume_copy, train


def test_metrics_after_a_resume_are_those_of_an_uninterrupted_run(tiny_cfg, tmp_path):
    """The medians over 20 iterations too, and the evaluation that a kill cut short."""
    tiny_cfg.merge_from_list(
        ["SOLVER.MAX_ITER", 34, "SOLVER.CHECKPOINT_PERIOD", 15, "TEST.EVAL_PERIOD", 15]
    )
    train(tiny_cfg)
    whole = Path(tiny_cfg.OUTPUT_DIR)
    lines = read_metrics(whole)
    assert [line["iteration"] for line in lines] == [14, 19, 29, 33, 34]
    assert ["search/mAP" in line for line in lines] == [True, False, True, False, True]
    final = ["model_final.pth", "curves.png"]
    # everything of the first evaluation on is lost
    resume_copy(tiny_cfg, whole, tmp_path / "a", "model_0000014.pth", lines=0, without=final)
    check_equal(tmp_path / "a", whole)
    # the metrics were written further than the checkpoint
    losses = resume_copy(tiny_cfg, whole, tmp_path / "b", "model_0000029.pth", without=final)
    assert set(losses) == {30, 31, 32, 33}
    check_equal(tmp_path / "b", whole)


def test_lines_that_were_written_together_keep_their_order(tiny_cfg, tmp_path):
    """An evaluation is kept, and the iteration of the same write is done again."""
    tiny_cfg.merge_from_list(
        ["SOLVER.MAX_ITER", 22, "SOLVER.CHECKPOINT_PERIOD", 4, "TEST.EVAL_PERIOD", 15]
    )
    train(tiny_cfg)
    whole = Path(tiny_cfg.OUTPUT_DIR)
    assert [line["iteration"] for line in read_metrics(whole)] == [14, 19, 21, 22]
    final = ["model_final.pth", "curves.png"]
    for name in ("model_0000011.pth", "model_0000015.pth", "model_0000019.pth"):
        for lines in (0, 2):
            folder = tmp_path / f"{name}_{lines}"
            if (name, lines) != ("model_0000019.pth", 0):  # the write was before the checkpoint
                resume_copy(tiny_cfg, whole, folder, name, lines=lines, without=final)
                check_equal(folder, whole)


@pytest.mark.parametrize(
    ("checkpoint", "without", "lines"),
    [
        ("model_0000005.pth", ["model_final.pth", "curves.png"], 0),
        ("model_0000005.pth", ["curves.png"], 1),
        ("model_final.pth", ["curves.png"], 0),
        ("model_final.pth", ["curves.png"], 1),
        ("model_final.pth", [], 2),
    ],
)
def test_work_after_the_last_iteration_is_resumed(tiny_cfg, tmp_path, checkpoint, without, lines):
    tiny_cfg.merge_from_list(SIX_STEPS)
    train(tiny_cfg)
    whole = Path(tiny_cfg.OUTPUT_DIR)
    folder = tmp_path / "killed"
    losses = resume_copy(tiny_cfg, whole, folder, checkpoint, lines=lines, without=without)
    assert losses == {}, "no iteration is left"
    check_equal(folder, whole)


def test_a_checkpoint_without_scalars_is_resumed_too(tiny_cfg, tmp_path):
    """As versions before the scalars wrote it: nothing that was written is dropped."""
    tiny_cfg.merge_from_list(SIX_STEPS)
    train(tiny_cfg)
    whole = Path(tiny_cfg.OUTPUT_DIR)
    path = whole / "model_0000005.pth"
    checkpoint = torch.load(path)
    del checkpoint["trainer"]["hooks"]["FinishStep"]
    torch.save(checkpoint, path)
    resume_copy(tiny_cfg, whole, tmp_path / "old", path.name, without=["model_final.pth"])
    check_equal(tmp_path / "old", whole)


def live(config_file, opts):
    trainer = PersonSearchTrainer(load_config(config_file, opts))
    trainer.resume_or_load(resume=True)
    trainer.train()


def kill_around_the_end(config_file, opts, folder, *, rounds, kills, seed):
    """Kill runs at random moments of their last iterations and after them.

    Each round resumes a half-finished run, kills it `kills` times and lets it end then; all rounds
    must leave the files of a run without kills.
    """
    context = torch.multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["clsa_search.engine"])

    def start(name):
        process = context.Process(target=live, args=(config_file, [*opts, "OUTPUT_DIR", str(name)]))
        process.start()
        return process

    half = folder / "half"
    cfg = load_config(config_file, [*opts, "OUTPUT_DIR", str(half)])
    train(cfg)
    whole = half.rename(folder / "whole")
    shutil.copytree(whole, half, ignore=shutil.ignore_patterns("model_final*", "curves*"))
    (half / "last_checkpoint").write_text("model_0000001.pth")
    shutil.copytree(half, folder / "timed")
    process, begin = start(folder / "timed"), time.monotonic()
    process.join()
    longest = time.monotonic() - begin
    check_equal(folder / "timed", whole)
    rng = np.random.default_rng(seed)
    for number in range(rounds):
        run = shutil.copytree(half, folder / f"run_{number}")
        for _ in range(kills):
            process = start(run)
            process.join(rng.uniform(0.3, 1.1) * longest)
            process.kill()
            process.join()
        process = start(run)
        process.join()
        assert process.exitcode == 0
        check_equal(run, whole)
        shutil.rmtree(run)


def test_kills_around_the_end_lose_nothing(demo_config_file, tiny_opts, tmp_path):
    opts = [*tiny_opts, "SOLVER.MAX_ITER", "4", "SOLVER.CHECKPOINT_PERIOD", "2"]
    kill_around_the_end(demo_config_file, opts, tmp_path, rounds=2, kills=2, seed=0)
