"""The losses against a literal reference in double precision, and their gradients."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clsa_search.modeling import (
    alignment_loss,
    decorrelation_loss,
    identity_loss,
    same_person_loss,
)
from clsa_search.modeling.distributed import mean_count
from clsa_search.structures import UNLABELED
from tests.support.processes import run_together


def softmax(row, temperature):
    exponentials = [math.exp(x / temperature) for x in row]
    return [e / sum(exponentials) for e in exponentials]


def literal_alignment(source, target, temperature):
    total = 0.0
    for source_row, target_row in zip(source.tolist(), target.tolist(), strict=True):
        p, q = softmax(source_row, temperature), softmax(target_row, temperature)
        total += sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(source)


def literal_identity(logits, pids):
    terms = [
        -math.log(softmax(row, 1.0)[pid])
        for row, pid in zip(logits.tolist(), pids.tolist(), strict=True)
        if pid != UNLABELED
    ]
    return sum(terms) / len(terms)


@pytest.mark.parametrize("temperature", [1.0, 3.0, 10.0])
def test_alignment_equals_literal_reference(temperature):
    generator = torch.Generator().manual_seed(0)
    source, target = 4 * torch.randn(2, 7, 11, generator=generator)
    got = alignment_loss(source, target, temperature=temperature)
    assert got.item() == pytest.approx(literal_alignment(source, target, temperature), rel=1e-5)


def test_alignment_worked_by_hand():
    # p = (3/4, 1/4), q = (1/2, 1/2): KL = 3/4 ln(3/2) + 1/4 ln(1/2)
    source, target = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert alignment_loss(source, target, temperature=1.0).item() == pytest.approx(expected)


def test_alignment_direction_is_source_to_target():
    source, target = torch.tensor([[4.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    forward = alignment_loss(source, target, temperature=1.0)
    backward = alignment_loss(target, source, temperature=1.0)
    assert forward.item() == pytest.approx(literal_alignment(source, target, 1.0), rel=1e-5)
    assert abs(forward - backward) > 0.1


def test_alignment_is_zero_at_agreement_and_pulls_the_target():
    source = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    assert alignment_loss(source, source, temperature=3.0).item() == pytest.approx(0.0, abs=1e-6)
    target = torch.zeros(5, 4, requires_grad=True)
    before = alignment_loss(source, target, temperature=3.0)
    before.backward()
    assert target.grad.abs().max() > 0
    after = alignment_loss(source, target.detach() - target.grad, temperature=3.0)
    assert after < before


def test_gradient_of_alignment_matches_its_closed_form():
    # d/d target = T / R * (q - p), from T^2 * KL
    source, target = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(2)).double()
    target.requires_grad_()
    alignment_loss(source, target, temperature=3.0).backward()
    closed = 3.0 / 6 * ((target / 3).softmax(1) - (source / 3).softmax(1))
    torch.testing.assert_close(target.grad, closed.detach(), atol=1e-6, rtol=1e-4)


def test_the_caller_may_detach_the_source():
    source = torch.randn(3, 4, requires_grad=True)
    target = torch.randn(3, 4, requires_grad=True)
    alignment_loss(source.detach(), target, temperature=3.0).backward()
    assert source.grad is None and target.grad is not None
    alignment_loss(source, target, temperature=3.0).backward()
    assert source.grad.abs().max() > 0


def test_identity_loss_ignores_unlabeled_rows():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(3))
    pids = torch.tensor([0, UNLABELED, 3, 3, UNLABELED, 1])
    assert identity_loss(logits, pids).item() == pytest.approx(
        literal_identity(logits, pids), rel=1e-5
    )


@pytest.mark.parametrize("pids", [[], [UNLABELED, UNLABELED]])
def test_without_labels_the_loss_is_zero_with_a_gradient_path(pids):
    logits = torch.randn(len(pids), 4, requires_grad=True)
    loss = identity_loss(logits, torch.tensor(pids, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None and not logits.grad.any()


def test_alignment_of_no_rows_is_zero_with_a_gradient_path():
    logits = torch.zeros(0, 4, requires_grad=True)
    loss = alignment_loss(logits, logits, temperature=3.0)
    loss.backward()
    assert loss.item() == 0.0 and logits.grad is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_give_float32_losses(dtype):
    logits = torch.tensor([[60000.0, -60000.0], [10.0, 0.0]]).to(dtype)
    pids = torch.tensor([1, 0])
    loss = identity_loss(logits, pids)
    assert loss.dtype == torch.float32 and torch.isfinite(loss)
    aligned = alignment_loss(logits, logits.flip(1), temperature=3.0)
    assert aligned.dtype == torch.float32 and torch.isfinite(aligned)


def share_of_losses(rank, folder):
    logits = torch.arange(6.0).reshape(1, 6)
    labeled = torch.tensor([rank == 0])
    counts = mean_count(torch.stack([labeled.sum(), torch.tensor(0)]))
    loss = identity_loss(logits[labeled], torch.tensor([2])[labeled], count=counts[0])
    torch.save((loss, counts), folder / str(rank))


def test_two_processes_with_one_box_have_the_loss_of_one_process(tmp_path):
    run_together(share_of_losses, tmp_path)
    (first, counts), (second, _) = (torch.load(tmp_path / str(rank)) for rank in range(2))
    alone = identity_loss(torch.arange(6.0).reshape(1, 6), torch.tensor([2]))
    # DistributedDataParallel averages the gradients in the same way
    torch.testing.assert_close((first + second) / 2, alone)
    assert counts.tolist() == [0.5, 0.5]  # a count of 0 becomes 1 before the division


def test_same_person_loss_worked_by_hand():
    source = torch.tensor([[0.9, 0.5], [0.2, 0.8]])
    target = torch.tensor([[0.4, 0.7], [0.1, 0.5]], requires_grad=True)
    same = torch.tensor([[True, True], [False, True]])
    loss = same_person_loss(source, target, same)
    assert loss.item() == pytest.approx((0.5 + 0.0 + 0.3) / 3)
    loss.backward()
    # only pairs of the person that the target finds less alike are pulled up
    assert target.grad.tolist() == [[pytest.approx(-1 / 3), 0], [0, pytest.approx(-1 / 3)]]


def test_decorrelation_equals_the_correlation_of_numpy():
    levels = [torch.randn(6, 5, generator=torch.Generator().manual_seed(s)) for s in range(3)]
    different = torch.rand(6, 5, generator=torch.Generator().manual_seed(9)) > 0.3
    correlations = np.corrcoef(np.stack([level[different].numpy() for level in levels]))
    expected = (np.triu(correlations, k=1) ** 2).sum()
    assert decorrelation_loss(levels, different).item() == pytest.approx(expected, rel=1e-4)


def test_decorrelation_is_one_for_copies_and_zero_for_a_single_level():
    level, pairs = torch.randn(4, 4), torch.ones(4, 4, dtype=torch.bool)
    assert decorrelation_loss([level, 3 * level - 1], pairs).item() == pytest.approx(1, abs=1e-5)
    assert decorrelation_loss([level], pairs).item() == 0


def test_a_step_along_the_gradient_decorrelates_and_moves_no_pair_of_a_person():
    first, second = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(4))
    second = (first + 0.3 * second).requires_grad_()
    different = torch.eye(5) == 0
    before = decorrelation_loss([first, second], different)
    before.backward()
    after = decorrelation_loss([first, second.detach() - second.grad], different)
    assert after < before
    assert not second.grad[~different].any()


@pytest.mark.parametrize("pairs", [0, 1])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_without_two_pairs_the_losses_of_similarities_are_zero_and_finite(pairs, value):
    levels = [torch.full((2, 2), value, requires_grad=True) for _ in range(2)]
    mask = torch.zeros(2, 2, dtype=torch.bool)
    mask.view(-1)[:pairs] = True
    loss = decorrelation_loss(levels, mask) + same_person_loss(levels[1].detach(), levels[0], mask)
    loss.backward()
    assert loss.item() == 0
    assert all(torch.isfinite(level.grad).all() for level in levels)


def test_equal_similarities_correlate_with_nothing():
    equal = torch.full((3, 3), 0.7, requires_grad=True)
    other = torch.randn(3, 3, generator=torch.Generator().manual_seed(5))
    loss = decorrelation_loss([equal, other], torch.ones(3, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-9)
    assert torch.isfinite(equal.grad).all()


def test_smoothing_spreads_its_share_over_all_identities():
    logits = torch.randn(4, 6, generator=torch.Generator().manual_seed(6))
    pids = torch.tensor([0, UNLABELED, 3, 3])
    expected = F.cross_entropy(logits[pids >= 0], pids[pids >= 0], label_smoothing=0.1)
    torch.testing.assert_close(identity_loss(logits, pids, smoothing=0.1), expected)


def test_smoothing_by_hand_gives_no_share_to_other_columns():
    # two identities and a slot of the queue; probabilities 1/2, 1/4, 1/4
    logits = torch.tensor([[0.5, 0.25, 0.25]]).log()
    loss = identity_loss(logits, torch.tensor([0]), smoothing=0.2, num_ids=2)
    assert loss.item() == pytest.approx(-(0.9 * math.log(0.5) + 0.1 * math.log(0.25)))


@pytest.mark.parametrize("pids", [[], [UNLABELED, UNLABELED]])
def test_smoothing_without_labels_is_zero_with_a_gradient_path(pids):
    logits = torch.randn(len(pids), 4, requires_grad=True)
    loss = identity_loss(logits, torch.tensor(pids, dtype=torch.int64), smoothing=0.1)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None and not logits.grad.any()
