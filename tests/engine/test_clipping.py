"""Gradients clipped as Detectron2 clips them."""

import copy

import pytest
import torch
from detectron2.solver.build import build_optimizer
from torch import nn

from clsa_search.engine import PersonSearchTrainer


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"CLIP_VALUE": 1e-3},
        {"NORM_TYPE": float("inf"), "CLIP_VALUE": 0.01},
        {"CLIP_TYPE": "value", "CLIP_VALUE": 0.01},
        {"ENABLED": False},
    ],
)
def test_steps_equal_those_of_detectron2(tiny_cfg, options):
    for key, value in options.items():
        tiny_cfg.SOLVER.CLIP_GRADIENTS[key] = value
    own = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2), nn.Linear(2, 2))
    own[3].requires_grad_(False)
    theirs = copy.deepcopy(own)
    mine = PersonSearchTrainer.build_optimizer(tiny_cfg, own)
    standard = build_optimizer(tiny_cfg, theirs)
    for _ in range(3):
        rows = 50 * torch.randn(6, 4)
        for model, optimizer in ((own, mine), (theirs, standard)):
            optimizer.zero_grad()
            model(rows).square().sum().backward()
            optimizer.step()
    for one, other in zip(own.parameters(), theirs.parameters(), strict=True):
        assert one.equal(other)
    assert mine.state_dict().keys() == standard.state_dict().keys()


def test_hooks_of_a_step_are_called_once(tiny_cfg):
    tiny_cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "value"
    calls = []
    for _ in range(2):  # Detectron2's second optimizer would call them twice
        optimizer = PersonSearchTrainer.build_optimizer(tiny_cfg, nn.Linear(2, 2))
    optimizer.register_step_post_hook(lambda *args: calls.append(args))
    optimizer.step()
    assert len(calls) == 1
