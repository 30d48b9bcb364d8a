"""The pairs of boxes: which are of one person, which of two, and those of several processes."""

import pytest
import torch
from torch.nn import functional as F

from clsa_search.modeling import FILLER
from clsa_search.modeling.distributed import scale_gradient
from clsa_search.modeling.level_pairs import pair_boxes
from clsa_search.modeling.losses import decorrelation_loss, same_person_loss
from clsa_search.structures import UNLABELED
from tests.support.processes import run_together

PIDS = torch.tensor([0, 1, 0, UNLABELED, 1, 0, FILLER, 2])


def make_embeddings():
    generator = torch.Generator().manual_seed(0)
    return {
        level: torch.randn(len(PIDS), 4, generator=generator).requires_grad_()
        for level in ("res3", "res5")
    }


def test_every_pair_of_labeled_boxes_comes_once():
    pairs = pair_boxes(make_embeddings(), PIDS, {})
    same = {(i, j) for i, j in pairs.same.nonzero().tolist()}
    assert same == {(0, 2), (0, 5), (2, 5), (1, 4)}
    labeled = [0, 1, 2, 4, 5, 7]
    every = {(i, j) for i in labeled for j in labeled if i < j}
    assert {(i, j) for i, j in pairs.different.nonzero().tolist()} == every - same


def test_similarities_are_cosines_of_each_level():
    embeddings = make_embeddings()
    pairs = pair_boxes(embeddings, PIDS, {})
    for level, values in embeddings.items():
        expected = F.cosine_similarity(values[1], values[4], dim=0)
        torch.testing.assert_close(pairs.similarities[level][1, 4], expected)


def test_a_lookup_table_gives_each_box_its_filled_rows():
    table = F.normalize(torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0]]), dim=1)
    embeddings = make_embeddings()
    pairs = pair_boxes(embeddings, PIDS, dict.fromkeys(embeddings, table))
    assert pairs.same.shape == (8, 11)
    columns = pairs.same[:, 8:]
    assert columns.nonzero().tolist() == [[0, 0], [2, 0], [5, 0], [7, 2]]  # row 1 is empty
    assert not pairs.different[:, 9].any()
    unit = F.normalize(embeddings["res3"][7], dim=0)
    torch.testing.assert_close(pairs.similarities["res3"][7, 10], unit @ table[2])


@pytest.mark.parametrize("pids", [[UNLABELED, UNLABELED], [3, FILLER]])
def test_without_pairs_all_masks_are_empty(pids):
    embeddings = {"res3": torch.randn(2, 4), "res5": torch.randn(2, 4)}
    pairs = pair_boxes(embeddings, torch.tensor(pids), {})
    assert not pairs.same.any() and not pairs.different.any()


def compute_gradients(embeddings, pids):
    pairs = pair_boxes(embeddings, pids, {})
    low, top = pairs.similarities.values()
    loss = decorrelation_loss([low, top], pairs.different)
    loss = loss + same_person_loss(top.detach(), low, pairs.same)
    scale_gradient(loss).backward()
    return loss.detach(), {level: values.grad for level, values in embeddings.items()}


def save_share(rank, folder):
    split = 3  # the processes have different numbers of boxes
    rows = slice(0, split) if rank == 0 else slice(split, None)
    embeddings = {k: v.detach()[rows].requires_grad_() for k, v in make_embeddings().items()}
    torch.save(compute_gradients(embeddings, PIDS[rows]), folder / str(rank))


def test_two_processes_have_loss_and_gradient_of_one(tmp_path):
    run_together(save_share, tmp_path)
    (first, low), (second, high) = (torch.load(tmp_path / str(rank)) for rank in range(2))
    alone, gradients = compute_gradients(make_embeddings(), PIDS)
    torch.testing.assert_close(first, alone)
    torch.testing.assert_close(second, alone)
    for level, gradient in gradients.items():
        # DistributedDataParallel averages over the two processes
        torch.testing.assert_close(torch.cat([low[level], high[level]]) / 2, gradient)
