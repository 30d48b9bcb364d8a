"""What a synthetic dataset shows: its size, and who is in which picture at which height."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clsa_search.data.synthetic.people import sample_appearance, sample_identities
from clsa_search.data.synthetic.scene import ScenePlan, Sighting
from clsa_search.data.synthetic.street import sample_cameras
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED

FEWEST_TARGETS = 3  # other sightings of a query's identity
_FIGURE_WIDTH = 0.36  # against its height
_CROWDED = 0.7  # part of the frame's width that the figures of a scene may fill together
_ATTEMPTS = 50


@dataclass(frozen=True, kw_only=True)
class SyntheticSpec:
    """What to draw; everything but the place on disk and the number of workers.

    seed: of all chance. *_ids: identities of a split, *_images: its pictures. width, height: of a
    picture in pixels. min_height, max_height: of a figure in pixels; max_height 0 means the full
    height of the picture. people: fewest and most people in a picture. unlabeled_fraction: of all
    people. sibling_fraction: of the identities, those who differ from another by one attribute.
    cameras: how many. min_visible: the part of a figure that must show for it to be drawn.
    """

    seed: int = 0
    train_ids: int = 120
    test_ids: int = 40
    train_images: int = 480
    gallery_images: int = 160
    width: int = 320
    height: int = 240
    min_height: int = 20
    max_height: int = 0
    min_people: int = 3
    max_people: int = 8
    unlabeled_fraction: float = 0.2
    sibling_fraction: float = 0.25
    cameras: int = 6
    min_visible: float = 0.4

    def __post_init__(self) -> None:
        for name, low, high in (
            ("seed", 0, 2**63), ("train_ids", 1, 10**6), ("test_ids", 1, 10**6),
            ("train_images", 1, 10**7), ("gallery_images", 2, 10**7),
            ("width", 64, 8192), ("height", 64, 8192), ("min_height", 12, self.tallest),
            ("max_height", 0, self.height), ("min_people", 1, self.max_people),
            ("max_people", 1, 50), ("unlabeled_fraction", 0, 0.9), ("sibling_fraction", 0, 0.9),
            ("cameras", 2, 50), ("min_visible", 0.2, 0.9),
        ):  # fmt: skip
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"synthetic scenes: {name} is {value}; expected {low} to {high}")
        most = min(self.train_ids, self.test_ids)
        if self.max_people > most:
            raise InputError(
                f"synthetic scenes: max_people is {self.max_people}; expected at most the number "
                f"of identities of a split, {most}: nobody is in a picture twice"
            )
        self._check_sightings("train", self.train_ids, self.train_images, 2)
        self._check_sightings("test", self.test_ids, self.gallery_images, FEWEST_TARGETS + 2)

    def _check_sightings(self, split: str, ids: int, images: int, fewest: int) -> None:
        people = images * (self.min_people + self.max_people) / 2
        sightings = people * (1 - self.unlabeled_fraction) / ids
        if sightings < fewest or images < fewest:
            raise InputError(
                f"synthetic scenes: {images} images for {split}_ids {ids} show each identity "
                f"about {min(sightings, images):.1f} times; expected {fewest}: ask for more "
                f"images or fewer identities"
            )

    @property
    def tallest(self) -> int:
        """Height of the largest figure in pixels."""
        return self.max_height or self.height


PRESETS = {
    # milder than the defaults in all but the number of identities: what ten minutes on two
    # processor cores can learn
    "demo": SyntheticSpec(
        train_ids=200, train_images=800, min_height=24, max_people=7, sibling_fraction=0.1,
        cameras=4, min_visible=0.6,
    ),
    "full": SyntheticSpec(
        train_ids=600, test_ids=300, train_images=4000, gallery_images=1500, width=960, height=720,
        cameras=8,
    ),
}  # fmt: skip


def plan_scenes(spec: SyntheticSpec, split: str) -> list[ScenePlan]:
    """The pictures of a split, `train` or `gallery`.

    Identities are seen about equally often, at most once in a picture, their heights spread evenly
    on a logarithmic scale; those of the gallery by two cameras or more. Ids of the two splits are
    disjoint: those of the gallery follow those of train.

    Raises:
        InputError: no such plan was found.
    """
    number = ("train", "gallery").index(split)
    rng = np.random.default_rng((spec.seed, 1 + number))
    # the street ends behind where the smallest stand
    far = min(0.07, 0.85 * spec.min_height / spec.height)
    cameras = sample_cameras(np.random.default_rng((spec.seed, 0)), spec.cameras, far=far)
    ids, images = (
        (spec.test_ids, spec.gallery_images) if number else (spec.train_ids, spec.train_images)
    )
    looks = sample_identities(rng, ids, sibling_fraction=spec.sibling_fraction)
    views = rng.permutation(np.arange(images) % len(cameras))
    people = rng.integers(spec.min_people, spec.max_people + 1, images)
    strangers = rng.binomial(people, spec.unlabeled_fraction)
    for _ in range(_ATTEMPTS):
        cast = _cast(rng, people - strangers, ids)
        if split == "train" or _seen_enough(cast, views, ids):
            break
    else:
        raise InputError(
            f"synthetic scenes: found no way to show each of test_ids {ids} in "
            f"{FEWEST_TARGETS + 1} pictures of 2 cameras; ask for more gallery_images"
        )
    heights = _heights(rng, spec, cast, ids)
    first = number * spec.train_ids
    plans = []
    for rank, (members, view) in enumerate(zip(cast, views, strict=True)):
        known = [
            Sighting(first + person, looks[person], heights[rank][place])
            for place, person in enumerate(members)
        ]
        passing = [_stranger(rng, spec) for _ in range(strangers[rank])]
        seed = int(rng.integers(2**63))
        plans.append(ScenePlan(rank, cameras[view], tuple(known + passing), seed))
    return plans


def _stranger(rng: np.random.Generator, spec: SyntheticSpec) -> Sighting:
    return Sighting(UNLABELED, sample_appearance(rng), _height_at(rng.uniform(), spec))


def _height_at(fraction: float, spec: SyntheticSpec) -> int:
    """A figure's height in pixels, a fraction of the way up the logarithmic scale."""
    return round(spec.min_height * (spec.tallest / spec.min_height) ** fraction)


def _cast(rng: np.random.Generator, places: np.ndarray, ids: int) -> list[list[int]]:
    """Identities (from 0) for the places of each picture: dealt from shuffled decks of all of them,
    so that counts differ by one at most but for the few who may not meet themselves."""
    deck: list[int] = []
    cast = []
    for count in places:
        members: list[int] = []
        if len(deck) < 2 * count:
            deck += rng.permutation(ids).tolist()
        for person in list(deck):
            if len(members) == count:
                break
            if person not in members:
                members.append(person)
                deck.remove(person)
        cast.append(members)
    return cast


def _seen_enough(cast: list[list[int]], views: np.ndarray, ids: int) -> bool:
    seen: list[list[int]] = [[] for _ in range(ids)]
    for members, view in zip(cast, views, strict=True):
        for person in members:
            seen[person].append(int(view))
    return all(len(views) > FEWEST_TARGETS and len(set(views)) > 1 for views in seen)


def _heights(
    rng: np.random.Generator, spec: SyntheticSpec, cast: list[list[int]], ids: int
) -> list[list[int]]:
    """Heights in pixels, parallel to cast: each identity's are one from each of equal parts of the
    scale. Pictures too full for their frame then trade their largest for one that fits better."""
    places: list[list[tuple[int, int]]] = [[] for _ in range(ids)]
    for rank, members in enumerate(cast):
        for place, person in enumerate(members):
            places[person].append((rank, place))
    heights = [[0] * len(members) for members in cast]
    for spots in places:
        parts = (rng.permutation(len(spots)) + rng.uniform(size=len(spots))) / max(len(spots), 1)
        for (rank, place), part in zip(spots, parts, strict=True):
            heights[rank][place] = _height_at(part, spec)
    room = _CROWDED * spec.width / _FIGURE_WIDTH
    for rank in rng.permutation(len(cast)):
        if sum(heights[rank]) <= room:
            continue
        place = int(np.argmax(heights[rank]))
        _trade(heights, rank, place, places[cast[rank][place]], room)
    return heights


def _trade(
    heights: list[list[int]], rank: int, place: int, spots: list[tuple[int, int]], room: float
) -> None:
    """Swaps a height with the least of the same identity's whose picture can take it, in place."""
    here = heights[rank][place]
    fitting = [
        (heights[r][p], r, p)
        for r, p in spots
        if heights[r][p] < here and sum(heights[r]) - heights[r][p] + here <= room
    ]
    if fitting:
        there, other, spot = min(fitting)
        heights[rank][place], heights[other][spot] = there, here
