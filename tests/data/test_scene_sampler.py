"""Groups of images that share their identities."""

import itertools
from collections import Counter

import numpy as np
import pytest

from clsa_search.data.build import build_train_loader
from clsa_search.data.samplers import EpochSampler, group_batches
from clsa_search.data.scene_sampler import SceneIdentitySampler
from clsa_search.errors import InputError


def make_scenes(images=300, people=90, seed=0):
    """People who walk through a few successive images each; every tenth image is empty."""
    rng = np.random.default_rng(seed)
    scenes = [set() for _ in range(images)]
    for person in range(people):
        first = int(rng.integers(images - 8))
        for image in first + rng.choice(8, size=int(rng.integers(2, 6)), replace=False):
            if image % 10:
                scenes[int(image)].add(person)
    return scenes


SCENES = make_scenes()
NO_GROUPING = np.zeros(len(SCENES), dtype=bool)
MIXED = np.random.default_rng(1).random(len(SCENES)) < 0.7


def take(count, landscape=NO_GROUPING, size=4, scenes=SCENES, parts=1, start=0):
    """The first batches of record numbers."""
    sampler = SceneIdentitySampler(scenes, landscape, group_size=size // parts, seed=5)
    batches = group_batches(sampler, landscape, batch_size=size, start_batch=start)
    return [[row for _, row in batch] for batch in itertools.islice(batches, count)]


def pair_share(batches, scenes=SCENES):
    """Share of the identities of batches that are in two images of their batch."""
    counts = [Counter(p for row in set(batch) for p in scenes[row]) for batch in batches]
    counts = [count for batch in counts for count in batch.values()]
    return sum(count > 1 for count in counts) / len(counts)


@pytest.mark.parametrize(("size", "least"), [(2, 0.5), (4, 0.7), (8, 0.8)])
def test_most_identities_of_a_batch_have_a_partner(size, least):
    plain = group_batches(EpochSampler(len(SCENES), seed=5), NO_GROUPING, batch_size=size)
    plain = [[row for _, row in batch] for batch in itertools.islice(plain, 200)]
    assert pair_share(plain) < 0.1
    assert pair_share(take(200, size=size)) > least


def test_orientations_do_not_part_the_pairs():
    batches = take(200, MIXED)
    assert all(len({MIXED[row] for row in batch}) == 1 for batch in batches)
    groups = SceneIdentitySampler(SCENES, MIXED, group_size=4, seed=5)
    groups = np.array(list(itertools.islice(groups, 800))).reshape(200, 4)
    assert sorted(batches) == sorted(groups.tolist()), "a batch is a group"
    # many people are in one image only of either orientation
    possible = [
        {p for p in people if sum(p in SCENES[i] for i in np.flatnonzero(MIXED == MIXED[row])) > 1}
        for row, people in enumerate(SCENES)
    ]
    assert pair_share(batches, possible) > 0.7


def test_the_parts_of_a_batch_hold_the_pairs():
    batches = take(100, MIXED, size=8, parts=2)
    assert pair_share([part for batch in batches for part in (batch[:4], batch[4:])]) > 0.45


@pytest.mark.parametrize("size", [2, 4, 7])
def test_every_image_comes_about_once_per_epoch(size):
    epochs = 12
    for landscape in (NO_GROUPING, MIXED):
        batches = take(epochs * len(SCENES) // size, landscape, size)
        counts = Counter(itertools.chain(*batches))
        assert set(counts) == set(range(len(SCENES)))
        assert all(abs(count - epochs) <= 2 for count in counts.values())
        assert all(len(set(batch)) == size for batch in batches)


def test_images_without_identities_are_spread():
    batches = take(75 * 4)
    empty = {row for row, people in enumerate(SCENES) if not people}
    assert len(empty) > 30
    assert max(len(empty & set(batch)) for batch in batches) < 4


def test_few_images_fill_a_batch_over_epochs():
    batches = take(30, size=4, scenes=[{1}, {1}, {2}], landscape=np.zeros(3, dtype=bool))
    counts = Counter(itertools.chain(*batches))
    assert all(abs(counts[row] - 40) <= 2 for row in range(3))


def test_a_later_start_and_a_second_pass_repeat_the_order():
    whole = take(200, MIXED)
    for start in (0, 1, 77, 150):
        assert take(200 - start, MIXED, start=start) == whole[start:]
    sampler = SceneIdentitySampler(SCENES, MIXED, group_size=4, seed=5)
    first, second = (list(itertools.islice(sampler, 900)) for _ in range(2))
    assert first == second
    other = SceneIdentitySampler(SCENES, MIXED, group_size=4, seed=6)
    assert first != list(itertools.islice(other, 900))


def test_processes_take_turns(monkeypatch):
    whole = SceneIdentitySampler(SCENES, NO_GROUPING, group_size=4, seed=5)
    whole = np.array(list(itertools.islice(whole, 240))).reshape(-1, 4).tolist()
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 3)
    for rank in range(3):
        monkeypatch.setattr("detectron2.utils.comm.get_rank", lambda rank=rank: rank)
        assert take(20) == whole[rank::3]


@pytest.mark.parametrize(
    ("scenes", "landscape", "size", "message"),
    [
        ([{1}, {2}, set()], [False] * 3, 4, "no identity of DATASETS.TRAIN is in two images"),
        ([{1}, {1}], [True, False], 2, "in two images of one orientation"),
        ([{1}, {1}], [True, True], 1, "leaves 1 image for each process.*expected 2 images or more"),
    ],
)
def test_datasets_and_batches_without_pairs_are_refused(scenes, landscape, size, message):
    with pytest.raises(InputError, match=message):
        SceneIdentitySampler(scenes, np.array(landscape), group_size=size, seed=0)


def test_the_loader_of_a_config(tiny_cfg):
    tiny_cfg.DATALOADER.SAMPLER_TRAIN = "SceneIdentitySampler"
    paired = total = 0
    for batch in itertools.islice(build_train_loader(tiny_cfg), 12):
        first, second = (set(x["instances"].gt_pids.tolist()) - {-1} for x in batch)
        paired, total = paired + 2 * len(first & second), total + len(first) + len(second)
    assert paired / total > 0.6
    tiny_cfg.SOLVER.ACCUMULATION_STEPS = 2
    with pytest.raises(InputError, match="leaves 1 image.*ACCUMULATION_STEPS"):
        build_train_loader(tiny_cfg)
