"""The average of the weights: its values, its evaluation, its checkpoints and resumed runs."""

import copy
from pathlib import Path

import pytest
import torch
from detectron2.utils import comm
from torch import nn

from clsa_search.engine import load_config, load_trained_model
from clsa_search.engine.weight_average import AverageWeights
from clsa_search.errors import InputError
from tests.support.devices import DEVICES
from tests.support.processes import run_together
from tests.support.training import SIX_STEPS, check_equal, resume_copy, train

EMA = ["SOLVER.EMA.ENABLED", "True", "SOLVER.EMA.DECAY", "0.6"]


@pytest.fixture
def averaged(tiny_cfg):
    tiny_cfg.merge_from_list([*SIX_STEPS, *EMA])
    return tiny_cfg


def build(device="cpu", decay=0.3):
    """A model of one trained weight, its optimizer (which adds 1 a step) and its average."""
    model = nn.ParameterDict({"weight": torch.zeros(1), "fixed": torch.ones(1)}).to(device)
    model["fixed"].requires_grad_(False)
    model["weight"].grad = -torch.ones(1, device=device)
    optimizer = torch.optim.SGD([model["weight"]], lr=1)
    return model, optimizer, AverageWeights(model, optimizer, decay)


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_averages_by_hand(device):
    model, optimizer, average = build(device)
    with torch.no_grad():
        model["weight"].fill_(4)  # weights loaded before the training
    average.before_train()
    expected = 4.0
    for value, decay in ((5, 0.1), (6, 2 / 11), (7, 0.25), (8, 0.3), (9, 0.3)):
        optimizer.step()
        expected = decay * expected + (1 - decay) * value
        with average.applied():
            assert model["weight"].item() == pytest.approx(expected)
        assert model["weight"].item() == value and model["fixed"].item() == 1


def test_an_error_while_the_averages_are_applied_leaves_the_trained_weights():
    model, optimizer, average = build()
    optimizer.step()
    with pytest.raises(RuntimeError), average.applied():
        raise RuntimeError
    assert model["weight"].item() == 1


def test_statistics_of_batch_norm_are_averaged_and_counters_are_not():
    model = nn.BatchNorm1d(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1)
    average = AverageWeights(model, optimizer, 0.5)
    average.before_train()
    rows = torch.tensor([[0.0], [4.0]])
    model(rows).sum().backward()
    optimizer.step()  # decay 0.1
    mean, variance = 0.1 * 2, 0.9 + 0.1 * 8
    with average.applied():
        assert model.running_mean.item() == pytest.approx(0.9 * mean)
        assert model.running_var.item() == pytest.approx(0.1 + 0.9 * variance)
        assert model.num_batches_tracked == 1
    assert model.running_mean.item() == pytest.approx(mean)


def test_a_step_that_half_precision_skips_counts_nothing():
    model, optimizer, average = build()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    for gradient, steps in ((torch.inf, 0), (1.0, 1)):
        scaler.scale(model["weight"] * gradient).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        assert average.steps == steps


def test_the_checkpoint_continues_the_average_exactly():
    model, optimizer, average = build()
    optimizer.step()
    with average.applied():
        saved = copy.deepcopy((model.state_dict(), average.state_dict()))
    other, its_optimizer, resumed = build()
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    resumed.before_train()
    for one in (optimizer, its_optimizer):
        one.step()
    assert torch.equal(other["weight"], model["weight"])
    with average.applied(), resumed.applied():
        assert torch.equal(other["weight"], model["weight"])


def find_average(trainer):
    return next(hook for hook in trainer._hooks if isinstance(hook, AverageWeights))


def test_checkpoints_hold_what_was_evaluated(averaged):
    torch.manual_seed(0)
    trainer, losses = train(averaged)
    average = find_average(trainer)
    assert average.steps == 6
    final = load_trained_model(Path(averaged.OUTPUT_DIR) / "model_final.pth").model.state_dict()
    raw = {name: values.clone() for name, values in trainer.model.state_dict().items()}
    with average.applied():
        mean = trainer.model.state_dict()
        assert all(torch.equal(final[name], mean[name]) for name in final)
    differing = {name for name in final if not torch.equal(final[name], raw[name])}
    assert len(differing) > 100, "not the last weights"
    statistics = {name for name in raw if "running_" in name}
    assert differing & statistics
    assert differing <= {name for name, _ in trainer.model.named_parameters()} | statistics
    averaged.SOLVER.EMA.ENABLED = False
    torch.manual_seed(0)
    plain, same = train(averaged)
    assert same == losses, "the average changes no iteration"
    assert all(torch.equal(values, raw[name]) for name, values in plain.model.state_dict().items())


@pytest.mark.parametrize("accumulation", ["1", "2"])
def test_a_resumed_run_equals_an_uninterrupted_one(averaged, tmp_path, accumulation):
    averaged.merge_from_list(
        ["SOLVER.ACCUMULATION_STEPS", accumulation, "SOLVER.OPTIMIZER", "AdamW"]
    )
    averaged.merge_from_list(["SOLVER.BASE_LR", "0.001", "TEST.EVAL_PERIOD", "3"])
    train(averaged)
    whole = Path(averaged.OUTPUT_DIR)
    final = ["model_final.pth", "curves.png"]
    resume_copy(averaged, whole, tmp_path / "a", "model_0000002.pth", lines=0, without=final)
    check_equal(tmp_path / "a", whole)
    # killed after the last iteration
    losses = resume_copy(averaged, whole, tmp_path / "b", "model_0000005.pth", without=final)
    assert losses == {}
    check_equal(tmp_path / "b", whole)


def test_a_run_without_an_average_cannot_go_on_with_one(tiny_cfg):
    tiny_cfg.merge_from_list(SIX_STEPS)
    train(tiny_cfg)
    tiny_cfg.merge_from_list(EMA)
    with pytest.raises(InputError, match="SOLVER.EMA.ENABLED is True, but False"):
        train(tiny_cfg, resume=True)


def resume_together(rank, config_file, opts):
    cfg = load_config(config_file, opts)
    whole = copy.deepcopy(find_average(train(cfg)[0]).state_dict())
    if rank == 0:
        folder = Path(cfg.OUTPUT_DIR)
        saved = torch.load(folder / "model_final.pth")
        beside = saved["trainer"]["hooks"]["AverageWeights"]["beside"]
        assert set(beside) <= set(saved["model"]), "names of the model, not of its wrapper"
        (folder / "last_checkpoint").write_text("model_0000001.pth")
    comm.synchronize()
    resumed = find_average(train(cfg, resume=True)[0]).state_dict()
    assert resumed["steps"] == whole["steps"] == 3
    for name, values in whole["beside"].items():
        # only the main process's statistics of batch norm are saved
        assert torch.equal(resumed["beside"][name], values) or (rank and "running_" in name), name


def test_two_processes_resume_exactly(demo_config_file, tiny_opts):
    opts = [*tiny_opts, *EMA, "SOLVER.MAX_ITER", "3", "SOLVER.CHECKPOINT_PERIOD", "2"]
    run_together(resume_together, demo_config_file, [*opts, "DATASETS.TEST", "()"])
