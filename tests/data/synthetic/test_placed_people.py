"""People in synthetic scenes: tight boxes, sizes, order and labels."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from clsa_search.data.synthetic.plan import plan_scenes
from clsa_search.data.synthetic.scene import SOLID, annotate, place_items
from clsa_search.data.synthetic.spec import PRESETS, SyntheticSpec
from clsa_search.structures import UNLABELED


@pytest.fixture(scope="module")
def placed():
    """Plans of the demo with their placed items."""
    spec = PRESETS["demo"]
    plans = plan_scenes(spec, "train")[:25]
    size = spec.height, spec.width
    rngs = [np.random.default_rng(plan.seed) for plan in plans]
    return [
        (plan, place_items(plan, rng, size=size, min_visible=spec.min_visible))
        for plan, rng in zip(plans, rngs, strict=True)
    ]


def test_boxes_are_tight_and_visibility_is_the_visible_share(placed):
    spec = PRESETS["demo"]
    size = spec.height, spec.width
    for _, items in placed:
        whole = []
        for item in items:  # each alone, on a board three images wide and high
            board = np.zeros((3 * size[0], 3 * size[1]), bool)
            top, left = size[0] + item.top, size[1] + item.left
            height, width = item.cutout.shape[:2]
            board[top : top + height, left : left + width] = item.cutout[..., 3] >= SOLID
            whole.append(board)
        people = [i for i, item in enumerate(items) if item.person is not None]
        annotations = annotate(items, size=size)
        assert len(annotations) == len(people)
        for number, annotation in zip(people, annotations, strict=True):
            inside = whole[number][size[0] : 2 * size[0], size[1] : 2 * size[1]]
            rows, cols = np.nonzero(inside)
            tight = [cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1]
            assert annotation["bbox"] == tight
            nearer = np.any(whole[number + 1 :], axis=0) if number + 1 < len(items) else False
            shown = (whole[number] & ~nearer)[size[0] : 2 * size[0], size[1] : 2 * size[1]]
            expected = shown.sum() / whole[number].sum()
            assert annotation["visibility"] == pytest.approx(expected, abs=1e-3)
            assert expected >= spec.min_visible


def test_every_labeled_person_is_placed(placed):
    for plan, items in placed:
        wanted = [s.person_id for s in plan.people if s.person_id != UNLABELED]
        people = [i.person.person_id for i in items if i.person is not None]
        assert sorted(p for p in people if p != UNLABELED) == sorted(wanted)


def test_larger_people_are_lower_and_in_front(placed):
    for _, items in placed:
        statures = [item.stature for item in items]
        feet = [item.foot for item in items]
        assert statures == sorted(statures) and feet == sorted(feet)


def test_heights_fill_their_range_evenly():
    spec = replace(PRESETS["demo"], min_height=24, max_height=192)
    heights = defaultdict(list)
    for plan in plan_scenes(spec, "train"):
        for person in plan.people:
            heights[person.person_id].append(person.height)
    every = np.concatenate(list(heights.values()))
    assert every.min() >= 24 and every.max() <= 192
    # three octaves
    shares = np.histogram(every, bins=[24, 48, 96, 193])[0] / len(every)
    assert np.abs(shares - 1 / 3).max() < 0.04
    for person, theirs in heights.items():
        assert person == UNLABELED or (min(theirs) < 40 and max(theirs) > 115)


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.5])
def test_the_requested_share_of_people_is_unlabeled(fraction):
    spec = SyntheticSpec(unlabeled_fraction=fraction)
    people = [s.person_id for p in plan_scenes(spec, "train") for s in p.people]
    assert len(people) / spec.train_images == pytest.approx(5.5, abs=0.3)
    assert people.count(UNLABELED) / len(people) == pytest.approx(fraction, abs=0.03)
