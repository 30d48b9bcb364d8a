"""The schedule in epochs: its iterations, the saved config and resumed runs."""

import copy
from pathlib import Path

import pytest

from clsa_search.engine import PersonSearchTrainer, load_config
from clsa_search.engine.schedule import with_schedule
from clsa_search.errors import InputError
from tests.support.training import train

EPOCHS = [
    *("SOLVER.EPOCHS", "1.5", "SOLVER.MAX_ITER", "3", "SOLVER.STEPS", "(2,)"),
    *("SOLVER.CHECKPOINT_PERIOD", "1", "TEST.EVAL_PERIOD", "0", "DATASETS.TEST", "()"),
    *("SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "SOLVER.GAMMA", "0.5"),
    *("MODEL.REID.ALIGN.RAMP", "0.0"),  # otherwise a longer run has another loss
]
"""One and a half epochs of the 8 images of the tiny set, in a unit of half an epoch."""


def read_schedule(cfg):
    solver = cfg.SOLVER
    return solver.MAX_ITER, solver.STEPS, solver.CHECKPOINT_PERIOD, cfg.TEST.EVAL_PERIOD


STRONG = ["R50", "convnext_b", "solider_swin_b"]


@pytest.mark.parametrize(
    ("epochs", "batch", "eval_period", "expected"),
    [
        (20, 4, 5, (20 * 25, (16 * 25, 18 * 25), 25, 125)),
        (10, 4, 5, (10 * 25, (8 * 25, 9 * 25), 12, 62)),
        (20, 8, 0, (250, (200, 225), 12, 0)),
        (0.5, 3, 5, (17, (14, 15), 1, 4)),
        (0.001, 4, 1, (1, (1,), 1, 1)),
        (0, 4, 5, (20, (16, 18), 1, 5)),
    ],
)
def test_the_schedule_keeps_its_proportions(tiny_cfg, epochs, batch, eval_period, expected):
    solver = tiny_cfg.SOLVER
    solver.EPOCHS, solver.IMS_PER_BATCH, tiny_cfg.TEST.EVAL_PERIOD = epochs, batch, eval_period
    solver.MAX_ITER, solver.STEPS, solver.CHECKPOINT_PERIOD = 20, (16, 18), 1
    before = copy.deepcopy(tiny_cfg)
    solver.WARMUP_ITERS = before.SOLVER.WARMUP_ITERS = 2
    cfg = with_schedule(tiny_cfg, [{}] * 100)
    assert read_schedule(cfg) == expected and tiny_cfg == before
    assert cfg.SOLVER.WARMUP_ITERS == round(2 / 20 * expected[0])
    assert with_schedule(cfg, [{}] * 100).SOLVER.WARMUP_ITERS == cfg.SOLVER.WARMUP_ITERS
    assert read_schedule(with_schedule(cfg, [{}] * 100)) == expected, (
        "the saved config means itself"
    )


def test_a_run_in_epochs_and_its_resumption(tiny_cfg, caplog):
    tiny_cfg.merge_from_list(EPOCHS)
    losses = train(tiny_cfg)[1]
    assert set(losses) == set(range(6))
    folder = Path(tiny_cfg.OUTPUT_DIR)
    saved = load_config(folder / "config.yaml")
    assert read_schedule(saved) == (6, (4,), 2, 0) and saved.SOLVER.EPOCHS == 1.5
    assert (folder / "model_0000001.pth").is_file() and (folder / "model_0000003.pth").is_file()
    for cfg in (tiny_cfg, saved):
        (folder / "last_checkpoint").write_text("model_0000003.pth")
        assert train(cfg, resume=True)[1] == {i: losses[i] for i in (4, 5)}
    # a longer run with the same steps so far
    (folder / "last_checkpoint").write_text("model_0000003.pth")
    tiny_cfg.merge_from_list(["SOLVER.EPOCHS", "2.0", "SOLVER.MAX_ITER", "4"])
    more = train(tiny_cfg, resume=True)[1]
    assert set(more) == {4, 5, 6, 7} and more[4] == losses[4]


def test_a_longer_run_cannot_move_a_step_that_is_over(tiny_cfg):
    tiny_cfg.merge_from_list(EPOCHS)
    train(tiny_cfg)
    tiny_cfg.SOLVER.EPOCHS = 3.0
    with pytest.raises(InputError, match=r"SOLVER.STEPS is \(8,\), but \(4,\)"):
        PersonSearchTrainer(tiny_cfg).resume_or_load(resume=True)


@pytest.mark.parametrize("images", [30, 380, 11206])
@pytest.mark.parametrize("name", STRONG)
def test_the_strong_recipes_warm_up_for_an_epoch_of_any_dataset(name, images):
    cfg = with_schedule(load_config(f"clsa_strong_{name}_cuhk_sysu"), [{}] * images)
    assert cfg.SOLVER.WARMUP_ITERS == pytest.approx(images / 8, abs=1)


def test_the_warm_up_may_change_when_it_is_over(tiny_cfg):
    tiny_cfg.merge_from_list([*EPOCHS, "SOLVER.WARMUP_ITERS", "1"])
    losses = train(tiny_cfg)[1]
    folder = Path(tiny_cfg.OUTPUT_DIR)
    assert load_config(folder / "config.yaml").SOLVER.WARMUP_ITERS == 2
    (folder / "last_checkpoint").write_text("model_0000003.pth")
    tiny_cfg.SOLVER.WARMUP_ITERS = 0
    assert train(tiny_cfg, resume=True)[1] == {i: losses[i] for i in (4, 5)}
    (folder / "last_checkpoint").write_text("model_0000001.pth")
    tiny_cfg.SOLVER.WARMUP_ITERS = 2
    with pytest.raises(InputError, match="SOLVER.WARMUP_ITERS is 4, but 0"):
        train(tiny_cfg, resume=True)


@pytest.mark.parametrize(("warmup", "warns"), [(5, False), (6, True), (1000, True)])
def test_a_warm_up_that_never_ends_is_reported(tiny_cfg, caplog, warmup, warns):
    tiny_cfg.merge_from_list(["SOLVER.MAX_ITER", "6", "SOLVER.WARMUP_ITERS", str(warmup)])
    PersonSearchTrainer(tiny_cfg)
    message = f"SOLVER.WARMUP_ITERS is {warmup}, but the training has 6 iterations"
    assert (message in caplog.text) == warns
