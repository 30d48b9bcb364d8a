"""Plan of a synthetic dataset: people and camera of each scene."""

from __future__ import annotations

import numpy as np

from clsa_search.data.synthetic.appearance import sample_appearance, sample_identities
from clsa_search.data.synthetic.camera import sample_cameras
from clsa_search.data.synthetic.scene import ScenePerson, ScenePlan
from clsa_search.data.synthetic.spec import MIN_POSITIVES, SyntheticSpec
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED

_PERSON_ASPECT = 0.36  # width / height
_CROWDED = 0.7  # part of the image width that the people of a scene may fill together
_ATTEMPTS = 50


def plan_scenes(spec: SyntheticSpec, split: str) -> list[ScenePlan]:
    """Plan the scenes of a split, `train` or `gallery`.

    Identities occur equally often, once per image, at heights spread evenly on a logarithmic scale.
    Two cameras or more see each gallery identity. The ids of the gallery follow those of train.

    Raises:
        InputError: no such plan is found.
    """
    split_index = ("train", "gallery").index(split)
    rng = np.random.default_rng((spec.seed, 1 + split_index))
    # The street ends behind the smallest people.
    far = min(0.07, 0.85 * spec.min_height / spec.height)
    cameras = sample_cameras(np.random.default_rng((spec.seed, 0)), spec.cameras, far=far)
    ids = (spec.train_ids, spec.test_ids)[split_index]
    images = (spec.train_images, spec.gallery_images)[split_index]
    appearances = sample_identities(rng, ids, sibling_fraction=spec.sibling_fraction)
    camera_indices = rng.permutation(np.arange(images) % len(cameras))
    people = rng.integers(spec.min_people, spec.max_people + 1, images)
    unlabeled = rng.binomial(people, spec.unlabeled_fraction)
    for _ in range(_ATTEMPTS):
        members = _assign_identities(rng, people - unlabeled, ids)
        if split == "train" or _has_enough_positives(members, camera_indices, ids):
            break
    else:
        raise InputError(
            f"synthetic scenes: cannot show each of test_ids {ids} in {MIN_POSITIVES + 1} images "
            f"of 2 cameras; raise gallery_images"
        )
    heights = _assign_heights(rng, spec, members, ids)
    plans = []
    for index, identities in enumerate(members):
        known = [
            ScenePerson(split_index * spec.train_ids + identity, appearances[identity], height)
            for identity, height in zip(identities, heights[index], strict=True)
        ]
        others = [_sample_unlabeled(rng, spec) for _ in range(unlabeled[index])]
        camera, seed = cameras[camera_indices[index]], int(rng.integers(2**63))
        plans.append(ScenePlan(index, camera, tuple(known + others), seed))
    return plans


def _sample_unlabeled(rng: np.random.Generator, spec: SyntheticSpec) -> ScenePerson:
    return ScenePerson(UNLABELED, sample_appearance(rng), _height_at(rng.uniform(), spec))


def _height_at(fraction: float, spec: SyntheticSpec) -> int:
    """Return a height in pixels at a fraction of the logarithmic scale."""
    return round(spec.min_height * (spec.tallest / spec.min_height) ** fraction)


def _assign_identities(rng: np.random.Generator, slots: np.ndarray, ids: int) -> list[list[int]]:
    """Deal identities (from 0) to the slots of each image from shuffled decks.

    Counts differ by at most one, except where an identity would occur twice in an image.
    """
    deck: list[int] = []
    members = []
    for count in slots:
        identities: list[int] = []
        if len(deck) < 2 * count:
            deck += rng.permutation(ids).tolist()
        for identity in list(deck):
            if len(identities) == count:
                break
            if identity not in identities:
                identities.append(identity)
                deck.remove(identity)
        members.append(identities)
    return members


def _has_enough_positives(members: list[list[int]], camera_indices: np.ndarray, ids: int) -> bool:
    cameras: list[list[int]] = [[] for _ in range(ids)]
    for identities, camera_index in zip(members, camera_indices, strict=True):
        for identity in identities:
            cameras[identity].append(int(camera_index))
    return all(len(seen) > MIN_POSITIVES and len(set(seen)) > 1 for seen in cameras)


def _assign_heights(
    rng: np.random.Generator, spec: SyntheticSpec, members: list[list[int]], ids: int
) -> list[list[int]]:
    """Assign heights in pixels, parallel to members.

    Each identity gets one height from each of equal parts of the scale. A crowded image then swaps
    its largest height with another image of the same identity.
    """
    positions: list[list[tuple[int, int]]] = [[] for _ in range(ids)]
    for image, identities in enumerate(members):
        for slot, identity in enumerate(identities):
            positions[identity].append((image, slot))
    heights = [[0] * len(identities) for identities in members]
    for spots in positions:
        parts = (rng.permutation(len(spots)) + rng.uniform(size=len(spots))) / max(len(spots), 1)
        for (image, slot), part in zip(spots, parts, strict=True):
            heights[image][slot] = _height_at(part, spec)
    limit = _CROWDED * spec.width / _PERSON_ASPECT
    for image in rng.permutation(len(members)):
        if sum(heights[image]) <= limit:
            continue
        slot = int(np.argmax(heights[image]))
        _swap_height(heights, image, slot, positions[members[image][slot]], limit)
    return heights


def _swap_height(
    heights: list[list[int]], image: int, slot: int, spots: list[tuple[int, int]], limit: float
) -> None:
    """Swap a height with the smallest of the same identity whose image has room, in place."""
    here = heights[image][slot]
    fitting = [
        (heights[i][s], i, s)
        for i, s in spots
        if heights[i][s] < here and sum(heights[i]) - heights[i][s] + here <= limit
    ]
    if fitting:
        there, other_image, other_slot = min(fitting)
        heights[image][slot], heights[other_image][other_slot] = there, here
