"""Synthetic people: distinct identities with visible differences."""

from dataclasses import replace

import numpy as np
import pytest

from clsa_search.data.synthetic.appearance import (
    SIBLING_ATTRIBUTES,
    Pose,
    differing_attributes,
    make_sibling,
    sample_appearance,
    sample_identities,
    sample_pose,
)
from clsa_search.data.synthetic.person import draw_person
from clsa_search.data.synthetic.scene import SOLID

STANDING = Pose(yaw=0.0, phase=0.0, stride=0.0, arms=("swing", "swing"), lean=0.0)


def test_people_have_the_requested_height():
    rng = np.random.default_rng(0)
    for height in (14, 20, 61, 240):
        person = sample_appearance(rng)
        alpha = draw_person(person, sample_pose(rng, person), height=height)[..., 3]
        assert alpha.shape[0] == height
        assert abs(np.ptp(np.flatnonzero((alpha >= SOLID).any(1))) + 1 - height) <= 2
        assert alpha[:, [0, -1]].any(0).all()  # no margin


def test_siblings_differ_in_exactly_one_attribute():
    rng = np.random.default_rng(1)
    changed = set()
    for _ in range(300):
        person = sample_appearance(rng)
        (attribute,) = differing_attributes(person, make_sibling(person, rng))
        changed.add(attribute)
    assert changed == set(SIBLING_ATTRIBUTES)


def test_identities_are_distinct_and_the_requested_share_are_siblings():
    people = sample_identities(np.random.default_rng(2), 300, sibling_fraction=0.3)
    assert len(set(people)) == 300
    siblings, first = 0, people[0]
    for person in people[1:]:
        related = len(differing_attributes(first, person)) == 1
        siblings += related
        first = first if related else person
    assert siblings / 300 == pytest.approx(0.3, abs=0.07)


def test_a_sibling_is_visibly_different():
    """Check that one attribute changes ten pixels or more at 60 px, from front or back."""
    rng = np.random.default_rng(3)
    for _ in range(60):
        person = sample_appearance(rng)
        sibling = make_sibling(person, rng)
        changed = []
        for yaw in (0.0, np.pi):
            board = np.zeros((2, 60, 90, 3))
            for number, one in enumerate((person, sibling)):
                cutout = draw_person(one, replace(STANDING, yaw=yaw), height=60)
                left = 45 - cutout.shape[1] // 2
                board[number, :, left : left + cutout.shape[1]] = cutout[..., :3]
            changed.append((np.abs(board[0] - board[1]).max(2) > 20).sum())
        assert max(changed) >= 10, differing_attributes(person, sibling)


@pytest.mark.parametrize(("yaw", "side"), [(0.0, 1), (np.pi, -1)])
def test_a_bag_stays_on_its_side_of_the_body(yaw, side):
    """Put the left hand's bag on the right of a person facing the viewer, else on the left."""
    person = replace(
        sample_appearance(np.random.default_rng(4)),
        bag="shopping",
        bag_color="lime",
        left=True,
        upper_color="black",
        upper_pattern="plain",
        lower_color="black",
        lower_pattern="plain",
        hat="none",
    )
    pose = replace(STANDING, yaw=yaw, arms=("carry", "swing"))
    cutout = draw_person(person, pose, height=200).astype(int)
    green = (cutout[..., 1] > 80) & (cutout[..., 1] > 2 * cutout[..., 0]) & (cutout[..., 3] > 250)
    green &= cutout[..., 1] > cutout[..., 2] + 15
    assert green.sum() > 100
    middle = np.flatnonzero(cutout[:40, :, 3].any(0)).mean()  # of the head
    assert side * (np.nonzero(green)[1].mean() - middle) > 20


def test_a_logo_is_visible_from_the_front_only():
    person = replace(
        sample_appearance(np.random.default_rng(4)),
        upper_kind="tee",
        upper_color="black",
        upper_second="yellow",
        upper_pattern="logo",
        lower_color="black",
        lower_pattern="plain",
        bag="none",
        hat="none",
        shoe_color="black",
    )

    def yellow(yaw):
        cutout = draw_person(person, replace(STANDING, yaw=yaw), height=120).astype(int)
        return int(((cutout[..., 1] > 100) & (cutout[..., 0] < 0.4 * cutout[..., 1])).sum())

    assert yellow(0.0) > 60 and yellow(np.pi) > 60
    assert yellow(0.0) > 2 * yellow(np.pi / 2)
