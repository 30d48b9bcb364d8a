"""The order of training records, and batches of images of equal shape."""

import itertools

import numpy as np

from clsa_search.data.samplers import EpochSampler, SameSizeBatches, group_batches


def keys(count, size=7, seed=3):
    """The first (position, record number) pairs of a training set."""
    return list(enumerate(itertools.islice(EpochSampler(size, seed=seed), count)))


def test_every_record_once_per_epoch_in_a_new_order():
    records = [record for _, record in keys(21)]
    epochs = [tuple(records[7 * epoch : 7 * epoch + 7]) for epoch in range(3)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len(set(epochs)) == 3
    # training by seed stays comparable between versions
    assert epochs[0] == tuple(np.random.default_rng((3, 0)).permutation(7))
    assert epochs[2] == tuple(np.random.default_rng((3, 2)).permutation(7))


def take(count, landscape, **options):
    """The first batches of (position, record number) pairs."""
    sampler = EpochSampler(len(landscape), seed=3)
    batches = group_batches(sampler, np.array(landscape), batch_size=2, **options)
    return list(itertools.islice(batches, count))


MIXED = [True, False, True, True, False, True, False]


def test_a_later_start_continues_the_same_sequence():
    whole = take(20, MIXED)
    for start in (0, 1, 7, 13):
        assert take(20 - start, MIXED, start_batch=start) == whole[start:]


def test_batches_hold_one_orientation_and_lose_no_record():
    batches = take(40, MIXED)
    for batch in batches:
        assert len({MIXED[record] for _, record in batch}) == 1
    pairs = sorted(itertools.chain(*batches))
    assert len(set(pairs)) == 80 and pairs[:70] == keys(70)


def test_processes_share_the_stream(monkeypatch):
    parts = []
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 3)
    for rank in range(3):
        monkeypatch.setattr("detectron2.utils.comm.get_rank", lambda rank=rank: rank)
        parts.append(take(10, [True] * 7))
    monkeypatch.undo()
    assert sorted(itertools.chain(*itertools.chain(*parts))) == keys(60)


def test_processes_share_out_batches_of_every_size(monkeypatch):
    sizes = [(10, 20)] * 5 + [(30, 40)] * 4 + [(50, 60)] * 2
    shares = []
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr("detectron2.utils.comm.get_rank", lambda rank=rank: rank)
        shares.append(list(SameSizeBatches(sizes, 2)))
    assert shares == [[[0, 1], [4], [7, 8]], [[2, 3], [5, 6], [9, 10]]]
