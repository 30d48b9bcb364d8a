"""The order of training records, and batches of images of equal shape."""

import itertools

import numpy as np
import pytest

from clsa_search.data.samplers import (
    EpochSampler,
    IdentitySampler,
    SameSizeBatches,
    group_batches,
)
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED


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


PEOPLE = [0, 0, 1, UNLABELED, 1, 1, 2, 0, 1]


def take_identities(groups, group_size=2, batch_size=4):
    sampler = IdentitySampler(PEOPLE, group_size=group_size, batch_size=batch_size, seed=5)
    return list(itertools.islice(sampler, groups * group_size))


def test_identities_come_in_groups_and_each_once_per_epoch():
    records = np.array(take_identities(groups=6)).reshape(6, 2)
    people = np.array(PEOPLE)[records]
    assert (people[:, 0] == people[:, 1]).all()
    assert sorted(people[:3, 0]) == sorted(people[3:, 0]) == [0, 1, 2]
    assert 3 not in records  # not labeled


def test_a_group_repeats_records_only_if_the_identity_has_too_few():
    records = np.array(take_identities(groups=3, group_size=4, batch_size=8)).reshape(3, 4)
    for group in records:
        available = PEOPLE.count(PEOPLE[group[0]])
        assert len(set(group)) == min(available, 4)


def test_a_second_pass_over_identities_repeats_the_first():
    assert take_identities(groups=5) == take_identities(groups=5)


@pytest.mark.parametrize(
    ("group_size", "batch_size", "message"),
    [
        (3, 4, "IMS_PER_IDENTITY is 3; expected a divisor of 4"),
        (0, 4, "IMS_PER_IDENTITY is 0"),
        (2, 8, "batches of 4 identities, but DATASETS.TRAIN has 3; expected at most 6 images"),
    ],
)
def test_a_batch_that_the_dataset_cannot_fill_is_refused(group_size, batch_size, message):
    with pytest.raises(InputError, match=message):
        take_identities(1, group_size, batch_size)
