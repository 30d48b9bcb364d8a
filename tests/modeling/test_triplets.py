"""The batch-hard triplet loss by hand, against a slow reference, and over processes and tables."""

import math

import pytest
import torch
from torch.nn import functional as F

from clsa_search.modeling import FILLER, batch_hard_triplet_loss
from clsa_search.modeling.distributed import scale_gradient
from clsa_search.modeling.level_pairs import measure_distances
from clsa_search.structures import UNLABELED
from tests.support.processes import run_together

PIDS = torch.tensor([0, 1, 0, UNLABELED, 1, 0, FILLER, 2])


def make_rows(count=8, seed=0):
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def compute(rows, pids, margin=0.3, table=None, normalize=False):
    tables = {} if table is None else {"res5": table}
    pairs = measure_distances({"res5": rows}, pids, tables, normalize=normalize)
    return batch_hard_triplet_loss(
        pairs.distances["res5"], pairs.same, pairs.different, margin=margin
    )


def literal_loss(rows, pids, margin, table=()):
    """Loop over anchors, positives and negatives, as section 2 of the paper defines the loss."""
    boxes = list(enumerate(zip(rows.tolist(), pids.tolist(), strict=True)))
    others = boxes + [(None, (row.tolist(), pid)) for pid, row in enumerate(table) if row.any()]
    losses = []
    for i, (anchor, pid) in boxes:
        compared = [(math.dist(anchor, row), p) for j, (row, p) in others if j != i and p >= 0]
        positives = [d for d, p in compared if p == pid]
        negatives = [d for d, p in compared if p != pid]
        if pid >= 0 and positives and negatives:
            gap = margin + max(positives) - min(negatives)
            losses.append(max(0.0, gap) if margin else math.log1p(math.exp(gap)))
    return sum(losses) / len(losses)


def test_the_loss_by_hand():
    distances = torch.tensor([[0.0, 1.0, 3.0, 2.0], [1.0, 0.0, 2.5, 0.5], [3.0, 2.5, 0.0, 4.0]])
    pids = torch.tensor([0, 0, 1])
    columns = torch.tensor([0, 0, 1, 1])
    same = pids[:, None] == columns
    same[:, :3].fill_diagonal_(False)
    different = pids[:, None] != columns
    # the rows: 0.3 + 1 - 2, 0.3 + 1 - 0.5 and 0.3 + 4 - 2.5
    loss = batch_hard_triplet_loss(distances, same, different, margin=0.3)
    assert loss.item() == pytest.approx((0.0 + 0.8 + 1.8) / 3)
    soft = batch_hard_triplet_loss(distances, same, different, margin=0.0)
    expected = sum(math.log1p(math.exp(x)) for x in (-1.0, 0.5, 1.5)) / 3
    assert soft.item() == pytest.approx(expected)


@pytest.mark.parametrize("margin", [0.3, 2.0, 0.0])
@pytest.mark.parametrize("with_table", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_equals_a_slow_reference(margin, with_table, seed):
    rows, table = make_rows(seed=seed), None
    if with_table:
        table = F.normalize(make_rows(count=5, seed=9).detach(), dim=1)
        table[2] = 0  # nothing was stored yet
    compared = F.normalize(rows.detach(), dim=1) if with_table else rows.detach()
    expected = literal_loss(compared, PIDS, margin, () if table is None else table)
    assert compute(rows, PIDS, margin, table).item() == pytest.approx(expected, rel=1e-5)


def test_the_gradient_reaches_anchor_hardest_positive_and_hardest_negative():
    rows = torch.tensor([[0.0], [1.0], [3.0], [4.5], [20.0]], requires_grad=True)
    compute(rows, torch.tensor([0, 0, 0, 1, UNLABELED]), margin=0.3).backward()
    # anchors 0.3 + 3 - 4.5 < 0, 0.3 + 2 - 3.5 < 0 and 0.3 + 3 - 1.5; the other person has one box
    assert rows.grad[:, 0].tolist() == pytest.approx([-1 / 3, 0, 2 / 3, -1 / 3, 0])


def test_unit_length_leaves_directions_only():
    rows = make_rows()
    scaled = rows * torch.rand(len(rows), 1).add(0.5)
    torch.testing.assert_close(
        compute(scaled, PIDS, normalize=True), compute(rows, PIDS, normalize=True)
    )
    assert compute(scaled, PIDS) != compute(rows, PIDS)


@pytest.mark.parametrize("margin", [0.3, 0.0])
@pytest.mark.parametrize(
    "pids",
    [[], [1, 1, 1], [0, 1, 2], [UNLABELED, UNLABELED], [FILLER, FILLER], [0, UNLABELED, FILLER]],
    ids=["nobody", "one person", "everybody once", "unlabeled", "fillers", "no pair"],
)
def test_without_anchors_the_loss_is_zero_with_a_gradient_path(pids, margin):
    rows = make_rows(count=len(pids))
    loss = compute(rows, torch.tensor(pids, dtype=torch.int64), margin)
    loss.backward()
    assert loss.item() == 0
    assert rows.grad is not None and not rows.grad.any()


def test_equal_rows_have_a_finite_gradient():
    rows = torch.ones(4, 4, requires_grad=True)
    loss = compute(rows, torch.tensor([0, 0, 1, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(0.3)
    assert rows.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_embeddings_give_a_float32_loss(dtype):
    rows = make_rows().detach()
    loss = compute(rows.to(dtype), PIDS)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, compute(rows, PIDS), atol=0.05, rtol=0.05)


def test_a_table_gives_anchors_to_a_batch_where_everybody_is_once():
    table = F.normalize(make_rows(count=3, seed=5).detach(), dim=1)
    pids = torch.tensor([0, 1, 2])
    assert compute(make_rows(count=3), pids, margin=2.0).item() == 0
    assert compute(make_rows(count=3), pids, margin=2.0, table=table).item() > 0


def compute_gradient(rows, pids):
    loss = scale_gradient(compute(rows, pids, margin=2.0))
    loss.backward()
    return loss.detach(), rows.grad


def save_share(rank, folder):
    part = slice(0, 3) if rank == 0 else slice(3, None)  # different numbers of boxes
    rows = make_rows().detach()[part].requires_grad_()
    torch.save(compute_gradient(rows, PIDS[part]), folder / str(rank))


def test_two_processes_have_loss_and_gradient_of_one(tmp_path):
    run_together(save_share, tmp_path)
    (first, low), (second, high) = (torch.load(tmp_path / str(rank)) for rank in range(2))
    alone, gradient = compute_gradient(make_rows(), PIDS)
    torch.testing.assert_close(first, alone)
    torch.testing.assert_close(second, alone)
    # DistributedDataParallel averages over the two processes
    torch.testing.assert_close(torch.cat([low, high]) / 2, gradient)
