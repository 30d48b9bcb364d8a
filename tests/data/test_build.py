"""The loaders: a training example depends on the seed and its position alone."""

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
    WorkerLoader,
    build_test_loader,
    build_train_loader,
)
from clsa_search.data.samplers import EpochSampler
from clsa_search.errors import InputError
from tests.support.tiny import make_split


def augment(record):
    """A mapper whose augmentation is a random number."""
    return {"id": record["id"], "augmentation": np.random.uniform()}


def build_dataset(count=7, seed=3):
    records = [{"id": i, "width": 2 - i % 2, "height": 1.5} for i in range(count)]
    return SeededDataset(records, augment, seed=seed)


def test_a_position_holds_the_same_example_at_every_reading():
    dataset, keys = build_dataset(), [(20, 5), (3, 0), (11, 2)]
    first = [dataset[key] for key in keys]
    assert [example["id"] for example in first] == [record for _, record in keys]
    assert [build_dataset()[key] for key in keys] == first
    assert dataset[4, 0]["augmentation"] != dataset[4 + 7, 0]["augmentation"]
    assert build_dataset(seed=4)[3, 0] != dataset[3, 0]


def test_a_dataset_travels_to_a_spawned_worker():
    assert pickle.loads(pickle.dumps(build_dataset()))[5, 2] == build_dataset()[5, 2]


def test_reading_leaves_the_global_generator_alone():
    np.random.seed(1)
    expected = np.random.uniform()
    np.random.seed(1)
    build_dataset()[0, 0]
    assert np.random.uniform() == expected


def read_id(record):
    return {"image_id": record["image_id"]}


def test_a_sampler_and_a_mapper_can_be_replaced(tiny_cfg):
    sampler = RepeatFactorTrainingSampler(torch.tensor([1.0, 0, 2]), seed=5)
    plain = build_train_loader(tiny_cfg)
    other = build_train_loader(tiny_cfg, read_id, sampler)
    expected = list(itertools.islice(sampler, 60))
    other.start_iter = 6
    shown = itertools.chain(*itertools.islice(other, 4))
    ids = [record["image_id"] for record in plain.dataset.records]
    assert [example["image_id"] for example in shown] == [ids[i] for i in expected[12:20]]
    assert set(expected) == {0, 2}


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_start_change_nothing(workers):
    def read(start, count, num_workers):
        sampler = EpochSampler(7, seed=3)
        loader = TrainingLoader(
            build_dataset(), sampler, total_batch_size=3, num_workers=num_workers, group=True
        )
        batches = iter(loader)
        loader.start_iter = start  # before the first batch is requested
        return list(itertools.islice(batches, count))

    assert read(0, 6, workers)[4:] == read(4, 2, 0)


@pytest.mark.parametrize("workers", [0, 1])
def test_training_on_a_cut_image_names_it(tiny_cfg, tmp_path, workers):
    path = make_split(tmp_path, "cut", images=3, queries=False)
    damaged = tmp_path / "cut_1.png"
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    tiny_cfg.DATASETS.TRAIN = (str(path),)
    tiny_cfg.DATALOADER.NUM_WORKERS = workers
    with pytest.raises(InputError, match="cut_1.png: not readable as an image"):
        list(itertools.islice(build_train_loader(tiny_cfg), 3))


@pytest.mark.gpu
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_for_a_gpu_lie_in_pinned_memory(tiny_cfg, workers):
    tiny_cfg.merge_from_list(["MODEL.DEVICE", "cuda", "DATALOADER.NUM_WORKERS", workers])
    batch = next(iter(build_train_loader(tiny_cfg)))
    assert all(x["image"].is_pinned() for x in batch)
    tiny_cfg.MODEL.DEVICE = "cpu"
    batch = next(iter(build_train_loader(tiny_cfg)))
    assert not any(x["image"].is_pinned() for x in batch)


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


@pytest.mark.parametrize("sampler", ["TrainingSampler", "SceneIdentitySampler"])
@pytest.mark.parametrize(("sampling", "sizes"), [("choice", (48, 72, 120)), ("range", (48, 120))])
def test_training_at_several_scales(tiny_cfg, sampler, sampling, sizes):
    """The scale depends on the position alone, and images of one orientation stay together."""
    tiny_cfg.DATALOADER.SAMPLER_TRAIN = sampler
    tiny_cfg.INPUT.MIN_SIZE_TRAIN, tiny_cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING = sizes, sampling
    tiny_cfg.INPUT.MAX_SIZE_TRAIN = 150
    shapes = [
        [tuple(example["image"].shape[1:]) for example in batch]
        for batch in itertools.islice(build_train_loader(tiny_cfg), 20)
    ]
    shortest = {height for batch in shapes for height, width in batch}
    if sampling == "choice":
        assert shortest == {48, 72, 113}, "113 x 150 instead of 120 x 160"
    else:
        assert len(shortest) > 10 and min(shortest) >= 48 and max(shortest) <= 113
    assert all(width > height for batch in shapes for height, width in batch)
    loader = build_train_loader(tiny_cfg)
    loader.start_iter = 7
    again = [[tuple(x["image"].shape[1:]) for x in batch] for batch in itertools.islice(loader, 3)]
    assert again == shapes[7:10]


@pytest.mark.parametrize("count", [1, 3, 100])
def test_test_batches_hold_one_size_and_every_image_once(tiny_cfg, tiny_data, count):
    records = [dict(r) for r in get_records(str(tiny_data / "gallery.json"))]
    for record in records[::3]:  # only the loader's batches are checked, no image is read
        record["width"] += 1
    tiny_cfg.TEST.IMS_PER_BATCH = count
    batches = build_test_loader(tiny_cfg, records).batch_sampler
    sizes = sorted((r["height"], r["width"]) for r in records)
    assert sorted(itertools.chain(*batches)) == list(range(10))
    assert all(len({sizes[i] for i in batch}) == 1 for batch in batches)
    assert [len(batch) for batch in batches] == {1: [1] * 10, 3: [3, 3, 3, 1], 100: [6, 4]}[count]
    assert len(batches) == len(list(batches))


def test_an_empty_batch_is_refused(tiny_cfg, tiny_data):
    tiny_cfg.TEST.IMS_PER_BATCH = 0
    with pytest.raises(InputError, match="TEST.IMS_PER_BATCH is 0; expected 1 or more"):
        build_test_loader(tiny_cfg, get_records(str(tiny_data / "gallery.json")))


class Faulty(torch.utils.data.Dataset):
    """A dataset whose second element is wrong."""

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 1:
            raise self.error
        return index


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_fault_in_a_loading_process_is_one_clean_message(num_workers):
    loader = WorkerLoader(Faulty(InputError("a.jpg: is cut")), num_workers=num_workers)
    with pytest.raises(InputError) as error:
        list(loader)
    assert str(error.value) == "a.jpg: is cut"


def test_an_unexpected_error_of_a_loading_process_stays_as_it_is():
    with pytest.raises(ZeroDivisionError, match="Traceback"):
        list(WorkerLoader(Faulty(ZeroDivisionError()), num_workers=1))
