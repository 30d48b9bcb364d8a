"""Galleries of synthetic embeddings with known people, and queries of people who are not there.

Shape letters: N tracklets, Q queries, D embedding width.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

_FRAMES = 5  # of a tracklet


@dataclass(frozen=True)
class GalleryRecipe:
    """A synthetic gallery; lengths are those of the parts of an embedding before normalization.

    Args:
        people: people in the gallery.
        cameras: cameras of the gallery.
        visits: mean number of tracklets of a person.
        together: mean number of people in a frame.
        strangers: queries of people who are not in the gallery.
        width: embedding width D.
        common: part that all embeddings share.
        shift: part of a camera.
        light: part of a camera at one time; people of one frame share it.
        view: part of a tracklet.
        noise: part of a detection.
        clothes: number of kinds of clothes; a few are common, most are rare. 0: none.
        likeness: part of the clothes in a person, 0 to 1.
        is_foreign: whether queries come from a camera that is not in the gallery.
    """

    people: int = 800
    cameras: int = 8
    visits: int = 4
    together: int = 4
    strangers: int = 600
    width: int = 64
    common: float = 1.5
    shift: float = 0.7
    light: float = 0.0
    view: float = 0.5
    noise: float = 0.5
    clothes: int = 0
    likeness: float = 0.8
    is_foreign: bool = True


class SyntheticGallery(NamedTuple):
    """Tracklets of known people, and queries.

    Args:
        embeddings: (N, D).
        queries: (N, D) embedding of one detection of each tracklet.
        cameras: camera of each tracklet.
        people: (N,) person of each tracklet.
        pairs: (P, 2) tracklets of one frame.
        strangers: (Q, D) queries of people without tracklets.
        present: (Q', D) queries of people with tracklets.
        present_people: (Q',) their person.
    """

    embeddings: np.ndarray
    queries: np.ndarray
    cameras: list[str]
    people: np.ndarray
    pairs: np.ndarray
    strangers: np.ndarray
    present: np.ndarray
    present_people: np.ndarray


RECIPES = {
    "easy": GalleryRecipe(),
    "hard": GalleryRecipe(view=1.0, noise=1.0),
    "light": GalleryRecipe(light=0.7),
    "clothes": GalleryRecipe(clothes=30),
    "light and clothes": GalleryRecipe(light=0.7, clothes=30),
    "known camera": GalleryRecipe(light=0.5, clothes=30, is_foreign=False),
    "32 cameras": GalleryRecipe(cameras=32, people=1600, clothes=30),
    "200 people": GalleryRecipe(cameras=3, people=200, clothes=20),
}

HELD_OUT = {
    "long visits": GalleryRecipe(
        people=400, cameras=12, visits=8, together=8, width=128, light=0.4
    ),
    "100 kinds of clothes": GalleryRecipe(
        clothes=100, likeness=0.6, view=0.8, noise=0.8, light=0.4, is_foreign=False
    ),
    "100 people": GalleryRecipe(people=100, cameras=2, visits=6, width=256, shift=1.0),
}
"""Recipes that no setting was chosen on."""


@dataclass
class _World:
    """The parts of embeddings."""

    recipe: GalleryRecipe
    rng: np.random.Generator
    slots: int = 40
    people: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        one = self.recipe
        self.common = self._directions() * one.common
        self.shifts = self._directions(one.cameras + 1) * one.shift
        self.lights = self._directions(one.cameras + 1, self.slots) * one.light
        total = one.people + one.strangers
        self.people = self._directions(total)
        if one.clothes:
            weights = 1 / np.arange(1, one.clothes + 1)
            kinds = self.rng.choice(one.clothes, total, p=weights / weights.sum())
            own = np.sqrt(1 - one.likeness**2) * self.people
            self.people = normalize(one.likeness * self._directions(one.clothes)[kinds] + own)

    def embed(
        self, people: np.ndarray, cameras: np.ndarray, slots: np.ndarray, frames: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the embeddings of tracklets with some frames, and of one detection of each."""
        seen = self.people[people] + self._directions(len(people)) * self.recipe.view
        scene = self.common + self.shifts[cameras] + self.lights[cameras, slots]
        noise = self._directions(len(people), frames) * self.recipe.noise
        detections = normalize((seen + scene)[:, None] + noise).astype(np.float32)
        return normalize(detections.mean(axis=1)), detections[:, 0]

    def _directions(self, *shape: int) -> np.ndarray:
        return normalize(self.rng.standard_normal((*shape, self.recipe.width)))


def make_gallery(recipe: GalleryRecipe, seed: int) -> SyntheticGallery:
    """Make a gallery and its queries."""
    rng = np.random.default_rng(seed)
    world = _World(recipe, rng)
    people = np.repeat(np.arange(recipe.people), 1 + rng.poisson(recipe.visits - 1, recipe.people))
    cameras = rng.integers(0, recipe.cameras, len(people))
    slots = rng.integers(0, world.slots, len(people))
    frames = max(1, round(len(people) / (recipe.cameras * world.slots * recipe.together)))
    frame = (cameras * world.slots + slots) * frames + rng.integers(0, frames, len(people))

    def query(chosen: np.ndarray) -> np.ndarray:
        at = np.full(len(chosen), recipe.cameras)
        if not recipe.is_foreign:
            at = rng.integers(0, recipe.cameras, len(chosen))
        return world.embed(chosen, at, rng.integers(0, world.slots, len(chosen)), 1)[1]

    present = rng.permutation(recipe.people)
    strangers = np.arange(recipe.people, recipe.people + recipe.strangers)
    return SyntheticGallery(
        *world.embed(people, cameras, slots, _FRAMES),
        [f"camera {camera}" for camera in cameras],
        people,
        _pair(frame, people),
        query(strangers),
        query(present),
        present,
    )


def normalize(values: np.ndarray) -> np.ndarray:
    """Scale embeddings to unit length."""
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def _pair(frames: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Return the pairs of tracklets of one frame and different people."""
    order = frames.argsort(kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(frames[order])) + 1)
    pairs = [group[np.stack(np.triu_indices(len(group), 1), axis=1)] for group in groups]
    joined = np.concatenate(pairs)
    return joined[people[joined[:, 0]] != people[joined[:, 1]]]
