"""What an iteration sees is a function of the seed and its number alone."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from detectron2.data.samplers import RepeatFactorTrainingSampler

from clsa_search.data import get_records
from clsa_search.data.build import (
    SeededDataset,
    TrainingLoader,
    build_test_loader,
    build_train_loader,
)
from clsa_search.data.samplers import EpochSampler, SameSizeBatches, group_batches
from clsa_search.errors import InputError


def augment(record):
    """A mapper whose augmentation is a random number."""
    return {"id": record["id"], "augmentation": np.random.uniform()}


def build_dataset(count=7, seed=3):
    records = [{"id": i, "width": 2 - i % 2, "height": 1.5} for i in range(count)]
    return SeededDataset(records, augment, seed=seed)


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


def test_a_position_holds_the_same_example_at_every_reading():
    dataset, stream = build_dataset(), keys(21)
    first = [dataset[stream[p]] for p in (20, 3, 11)]
    assert [example["id"] for example in first] == [stream[p][1] for p in (20, 3, 11)]
    assert [build_dataset()[keys(21)[p]] for p in (20, 3, 11)] == first
    assert dataset[4, 0]["augmentation"] != dataset[4 + 7, 0]["augmentation"]
    assert build_dataset(seed=4)[keys(21, seed=4)[3]] != dataset[stream[3]]


def test_a_dataset_travels_to_a_spawned_worker():
    assert pickle.loads(pickle.dumps(build_dataset()))[5, 2] == build_dataset()[5, 2]


def test_reading_leaves_the_global_generator_alone():
    np.random.seed(1)
    expected = np.random.uniform()
    np.random.seed(1)
    build_dataset()[0, 0]
    assert np.random.uniform() == expected


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


def test_a_sampler_of_detectron2_can_take_the_place(tiny_cfg):
    sampler = RepeatFactorTrainingSampler(torch.tensor([1.0, 0, 2]), seed=5)
    plain, other = (
        build_train_loader(tiny_cfg),
        build_train_loader(tiny_cfg, augment_image, sampler),
    )
    expected = [record for record in itertools.islice(sampler, 60)]
    other.start_iter = 6
    shown = itertools.chain(*itertools.islice(other, 4))
    ids = [record["image_id"] for record in plain.dataset.records]
    assert [example["image_id"] for example in shown] == [ids[i] for i in expected[12:20]]
    assert set(expected) == {0, 2}


def augment_image(record):
    return {"image_id": record["image_id"]}


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_start_change_nothing(workers):
    def read(start, count, num_workers):
        sampler = EpochSampler(7, seed=3)
        loader = TrainingLoader(
            build_dataset(), sampler, total_batch_size=3, num_workers=num_workers, group=True
        )
        batches = iter(loader)
        loader.start_iter = start  # before the first batch is asked for
        return list(itertools.islice(batches, count))

    assert read(0, 6, workers)[4:] == read(4, 2, 0)


def test_configured_loaders(tiny_cfg, tiny_data):
    batch = next(iter(build_train_loader(tiny_cfg)))
    assert len(batch) == 2
    for example in batch:
        assert example["instances"].has("gt_pids")
        assert min(example["image"].shape[1:]) in (72, 96)
    name = str(tiny_data / "gallery.json")
    seen = list(itertools.chain(*build_test_loader(tiny_cfg, get_records(name))))
    assert [e["image_id"] for e in seen] == [r["image_id"] for r in get_records(name)]
    assert sorted(i for e in seen for i in e.get("query_ids", torch.empty(0)).tolist()) == [0, 1, 2]


@pytest.mark.parametrize("count", [1, 3, 100])
def test_test_batches_hold_one_size_and_everyone_once(tiny_cfg, tiny_data, count):
    records = [dict(r) for r in get_records(str(tiny_data / "gallery.json"))]
    for record in records[::3]:  # who is never read
        record["width"] += 1
    tiny_cfg.TEST.IMS_PER_BATCH = count
    batches = build_test_loader(tiny_cfg, records).batch_sampler
    sizes = sorted((r["height"], r["width"]) for r in records)
    assert sorted(itertools.chain(*batches)) == list(range(10))
    assert all(len({sizes[i] for i in batch}) == 1 for batch in batches)
    assert [len(batch) for batch in batches] == {1: [1] * 10, 3: [3, 3, 3, 1], 100: [6, 4]}[count]
    assert len(batches) == len(list(batches))


def test_processes_share_out_batches_of_every_size(monkeypatch):
    sizes = [(10, 20)] * 5 + [(30, 40)] * 4 + [(50, 60)] * 2
    shares = []
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr("detectron2.utils.comm.get_rank", lambda rank=rank: rank)
        shares.append(list(SameSizeBatches(sizes, 2)))
    assert shares == [[[0, 1], [4], [7, 8]], [[2, 3], [5, 6], [9, 10]]]


def test_a_batch_of_nobody_is_refused(tiny_cfg, tiny_data):
    tiny_cfg.TEST.IMS_PER_BATCH = 0
    with pytest.raises(InputError, match="TEST.IMS_PER_BATCH is 0; expected 1 or more"):
        build_test_loader(tiny_cfg, get_records(str(tiny_data / "gallery.json")))
