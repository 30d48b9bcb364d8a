"""Identity classifiers: OIM against a literal reference, and with extreme inputs."""

import pytest
import torch
from torch.nn import functional as F

from clsa_search.modeling import FILLER, OIMClassifier, alignment_loss, identity_loss
from clsa_search.structures import UNLABELED


def build(num_ids=4, queue_size=5, embed_dim=6, momentum=0.5, temperature=0.1):
    return OIMClassifier(
        embed_dim=embed_dim,
        num_ids=num_ids,
        queue_size=queue_size,
        momentum=momentum,
        temperature=temperature,
    )


def rows(count, embed_dim=6, seed=0):
    return torch.randn(count, embed_dim, generator=torch.Generator().manual_seed(seed))


def literal_update(table, queue, slot, embeddings, pids, momentum):
    """Update lists of rows, one identity at a time; return the next slot of the queue."""
    unit = [row / row.norm() for row in embeddings]
    for pid in set(pids.tolist()) - {UNLABELED, FILLER}:
        mean = sum(row for row, p in zip(unit, pids, strict=True) if p == pid) / (pids == pid).sum()
        new = momentum * table[pid] + (1 - momentum) * mean
        table[pid] = new / new.norm()
    for row, pid in zip(unit, pids, strict=True):
        if pid == UNLABELED:
            queue[slot] = row
            slot = (slot + 1) % len(queue)
    return slot


def test_updates_equal_a_literal_reference():
    oim = build()
    table, queue, slot = list(oim.lookup_table), list(oim.queue), 0
    for step in range(12):
        pids = torch.randint(-2, 4, (7,), generator=torch.Generator().manual_seed(step))
        embeddings = rows(7, seed=step)
        slot = literal_update(table, queue, slot, embeddings, pids, momentum=0.5)
        oim.update(embeddings, pids)
        torch.testing.assert_close(oim.lookup_table, torch.stack(table))
        torch.testing.assert_close(oim.queue, torch.stack(queue))
        assert oim.next_slot == slot


def test_logits_are_cosines_over_temperature():
    oim = build()
    oim.update(rows(2), torch.tensor([1, UNLABELED]))
    logits = oim(3 * rows(2))
    assert logits.shape == (2, 4 + 5)
    cosine = F.cosine_similarity(*rows(2), dim=0)
    expected = torch.zeros(2, 9)
    expected[0, 1] = expected[1, 4] = 10
    expected[1, 1] = expected[0, 4] = 10 * cosine
    torch.testing.assert_close(logits, expected)


def test_a_full_queue_keeps_the_latest_unlabeled_rows():
    oim = build(queue_size=3)
    many = rows(5)
    oim.update(many, torch.full((5,), UNLABELED))
    torch.testing.assert_close(oim.queue, F.normalize(many[-3:], dim=1))


def test_the_queue_may_have_no_slots():
    oim = build(queue_size=0)
    oim.update(rows(2), torch.tensor([0, UNLABELED]))
    assert oim(rows(2)).shape == (2, 4)


def test_fillers_and_rows_that_are_not_finite_are_not_stored():
    oim = build()
    broken = rows(4)
    broken[1, 0], broken[2, 0] = float("nan"), float("inf")
    oim.update(broken, torch.tensor([FILLER, 0, UNLABELED, 3]))
    assert oim.queue.abs().sum() == 0
    assert oim.lookup_table.abs().sum(dim=1).nonzero().flatten().tolist() == [3]


def test_an_update_does_not_change_the_backward_pass():
    oim = build()
    oim.update(rows(4), torch.arange(4))
    embeddings, pids = rows(4, seed=1).requires_grad_(), torch.arange(4)
    expected = torch.autograd.grad(identity_loss(oim(embeddings), pids), embeddings)[0]
    loss = identity_loss(oim(embeddings), pids)
    oim.update(embeddings, pids)
    torch.testing.assert_close(torch.autograd.grad(loss, embeddings)[0], expected)


def test_table_and_queue_are_saved():
    oim, other = build(), build()
    oim.update(rows(4), torch.tensor([0, 1, UNLABELED, 2]))
    other.load_state_dict(oim.state_dict())
    for name, value in oim.named_buffers():
        assert torch.equal(dict(other.named_buffers())[name], value)
    assert oim.state_dict().keys() == {"lookup_table", "queue", "next_slot"}


EXTREMES = (0.0, 1e-30, 6e-8, 1.0, 65504.0, 1e18)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_thousands_of_steps_of_extreme_inputs_stay_finite(dtype):
    torch.manual_seed(0)
    levels = [build(temperature=1 / 30), build(temperature=1 / 30)]
    largest = torch.finfo(dtype).max
    for step in range(2000):
        pids = torch.randint(-2, 4, (8,))
        scales = torch.tensor(EXTREMES)[torch.randint(len(EXTREMES), (2, 8, 1))].clamp(max=largest)
        values = torch.randn(2, 8, 6).clamp(-1, 1)
        if step % 5 == 0:
            values = values[:, :1].expand(2, 8, 6)  # the same direction for all rows
        embeddings = (values * scales).to(dtype).requires_grad_()
        logits = [oim(one) for oim, one in zip(levels, embeddings, strict=True)]
        loss = identity_loss(logits[0], pids.clamp(min=UNLABELED))
        loss = loss + alignment_loss(logits[1], logits[0], temperature=3.0)
        loss.backward()
        assert loss.isfinite() and embeddings.grad.isfinite().all(), (step, loss)
        for oim, one in zip(levels, embeddings, strict=True):
            oim.update(one, pids)
            lengths = torch.cat([oim.lookup_table, oim.queue]).norm(dim=1)
            assert lengths.isfinite().all() and lengths.max() < 1 + 1e-5
