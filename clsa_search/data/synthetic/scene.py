"""One synthetic picture: people and street furniture put on a camera's ground, far to near.

Everyone who is drawn is annotated: a figure that would be hidden too far, or would hide another too
far, is not put into the scene at all. A box is the extent of the whole figure inside the frame,
whatever stands in front of it; visibility is the part of the figure's pixels, those outside the
frame included, that the finished picture shows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from clsa_search.data.synthetic.figure import draw_person
from clsa_search.data.synthetic.people import Appearance, sample_pose
from clsa_search.data.synthetic.props import PROPS, draw_prop
from clsa_search.data.synthetic.street import (
    Camera,
    develop,
    draw_background,
    row_of_feet,
    walkable,
)

_AVERAGE = 1.72  # metres of a stature in the world frame
SOLID = 96  # alpha from which a pixel belongs to a figure
_TRIES = 30
_PROPS = {
    "shops": ("lamp", "bin", "bench", "sign", "poster", "mannequin", "coat_rack", "bollard"),
    "square": ("tree", "bench", "statue", "bin", "bollard", "bush", "lamp", "poster"),
    "road": ("car", "car", "sign", "lamp", "tree", "bollard", "bin"),
    "park": ("tree", "tree", "bush", "bush", "bench", "statue", "lamp", "bin"),
    "plaza": ("poster", "mannequin", "coat_rack", "bench", "bin", "bollard", "statue"),
    "dusk": ("car", "lamp", "lamp", "sign", "tree", "mannequin", "bin"),
}


@dataclass(frozen=True)
class Sighting:
    """Someone to be put into a scene: identity, looks and the figure's height in pixels."""

    person_id: int
    appearance: Appearance
    height: int


@dataclass(frozen=True)
class ScenePlan:
    """All that decides a picture. rank: its number in its split, from 0; seed: of its chance."""

    rank: int
    camera: Camera
    sightings: tuple[Sighting, ...]
    seed: int


@dataclass(frozen=True)
class Item:
    """A cut-out in the scene; sighting is None for furniture.

    picture: as `draw_person` returns. stature: pixels of an average adult where it stands. foot:
    the row below its lowest. left: its first column; it may reach beyond the frame.
    """

    picture: np.ndarray
    stature: float
    foot: int
    sighting: Sighting | None
    left: int = 0

    @property
    def top(self) -> int:
        return self.foot - self.picture.shape[0]

    def windows(self, height: int, width: int) -> tuple[tuple, tuple]:
        """Index of the item's part inside the frame, in the frame and in its own picture."""
        top, left = self.top, self.left
        rows = max(top, 0), min(top + self.picture.shape[0], height)
        cols = max(left, 0), min(left + self.picture.shape[1], width)
        rows, cols = (rows[0], max(rows)), (cols[0], max(cols))
        own = slice(rows[0] - top, rows[1] - top), slice(cols[0] - left, cols[1] - left)
        return (slice(*rows), slice(*cols)), own


def draw_scene(
    plan: ScenePlan, *, width: int, height: int, min_visible: float
) -> tuple[np.ndarray, list[dict]]:
    """Draws a plan.

    Returns the picture, (height, width, 3) uint8 BGR, and for each person in it `bbox`
    [x, y, w, h] in pixels, `person_id` and `visibility` (min_visible to 1).
    """
    rng = np.random.default_rng(plan.seed)
    placed = place_items(plan, rng, size=(height, width), min_visible=min_visible)
    picture = draw_background(plan.camera, width, height).copy()
    for item in placed:
        _cast_shadow(picture, item, plan.camera)
        _blend(picture, item)
    return develop(picture, plan.camera, rng), annotate(placed, size=(height, width))


def place_items(
    plan: ScenePlan, rng: np.random.Generator, *, size: tuple[int, int], min_visible: float
) -> list[Item]:
    """People and furniture far to near, in their places in a picture of size (height, width).

    Tried again with new places, and at last without furniture and passers-by, until everyone with
    an identity has a place.
    """
    height = size[0]
    people = [_person(plan.camera, s, rng, height) for s in plan.sightings]
    known = [item for item in people if item.sighting.person_id >= 0]
    furniture = _furniture(plan.camera, rng, height)
    best: list[Item] = []
    for items in (people + furniture, people + furniture, people, people, known, known, known):
        placed = _put(items, plan.camera, rng, size, min_visible)
        best = max(best, placed, key=_known_count)
        if _known_count(best) == len(known):
            break
    return best


def _known_count(items: list[Item]) -> int:
    return sum(i.sighting is not None and i.sighting.person_id >= 0 for i in items)


def _person(camera: Camera, sighting: Sighting, rng: np.random.Generator, height: int) -> Item:
    looks = sighting.appearance
    picture = draw_person(
        looks, sample_pose(rng, looks), height=sighting.height, light=camera.light
    )
    stature = sighting.height * _AVERAGE / looks.stature
    return Item(picture, stature, round(row_of_feet(camera, stature, height)), sighting)


def _furniture(camera: Camera, rng: np.random.Generator, height: int) -> list[Item]:
    kinds = _PROPS[camera.style]
    items = []
    for _ in range(int(rng.integers(2, 6))):
        kind = kinds[int(rng.integers(len(kinds)))]
        tall = PROPS[kind][0][1]
        stature = height * np.exp(rng.uniform(np.log(0.09), np.log(min(0.6, 1.3 / tall))))
        foot = round(row_of_feet(camera, stature, height))
        items.append(Item(draw_prop(rng, kind, stature), float(stature), foot, None))
    return items


def _put(
    items: list[Item],
    camera: Camera,
    rng: np.random.Generator,
    size: tuple[int, int],
    min_visible: float,
) -> list[Item]:
    """Finds a column for each item, far to near; leaves out whom no column suits."""
    owner = np.full(size, -1, np.int32)
    placed: list[Item] = []
    shown = np.zeros(0, np.int64)  # pixels of each placed item that show, and that must show
    needed = np.zeros(0)
    for item in sorted(items, key=lambda i: i.stature):
        solid = item.picture[..., 3] >= SOLID
        least = min_visible * solid.sum()
        for _ in range(_TRIES):
            here = replace(item, left=_column(item, camera, rng, size[1]))
            frame, own = here.windows(*size)
            inside = solid[own]
            hidden = owner[frame][inside]
            left = shown - np.bincount(hidden[hidden >= 0], minlength=len(placed))
            if inside.sum() >= least and (left >= needed).all():
                owner[frame][inside] = len(placed)
                placed.append(here)
                shown = np.append(left, inside.sum())
                needed = np.append(needed, 0 if item.sighting is None else least)
                break
    return placed


def _column(item: Item, camera: Camera, rng: np.random.Generator, width: int) -> int:
    """A left edge at random, the feet between the street's edges; furniture keeps to the sides."""
    own = item.picture.shape[1]
    low, high = walkable(camera, item.stature, width)
    low, high = max(low, 0.0), min(high, float(width))
    where = rng.beta(0.45, 0.45) if item.sighting is None else rng.uniform()
    return round(low + where * max(high - low, 1.0) - own / 2)


def _blend(picture: np.ndarray, item: Item) -> None:
    """Puts an item over what is in the picture, in place."""
    frame, own = item.windows(*picture.shape[:2])
    part = item.picture[own].astype(np.uint16)
    clear = 255 - part[..., 3:]
    picture[frame] = np.minimum(part[..., :3] + (picture[frame] * clear + 127) // 255, 255)


def _cast_shadow(picture: np.ndarray, item: Item, camera: Camera) -> None:
    """Darkens the ground by the item's silhouette, laid down away from the light, and under it."""
    strength = 0.15 if camera.style in ("dusk", "plaza") else 0.42
    height, width = item.picture.shape[:2]
    slant = -1.1 * camera.light[0]
    depth = max(int((0.22 * camera.light[2] + 0.05) * height), 2)
    reach = int(abs(slant) * height) + 1
    soft = max(height // 24, 2)
    pad = 2 * soft
    start = pad + (reach if slant < 0 else 0)
    lay = np.array([[1, -slant, start + slant * height], [0, depth / height, pad]], np.float32)
    board = (width + reach + 2 * pad, depth + 2 * pad)
    shadow = cv2.warpAffine(item.picture[..., 3], lay, board).astype(np.float32) * strength
    axes = (max(int(0.36 * width), 1), max(int(0.045 * height), 1))
    center = (start + width // 2, depth + pad - axes[1] // 2)
    under = cv2.ellipse(np.zeros_like(shadow), center, axes, 0, 0, 360, 120.0, -1)
    shadow = cv2.blur(np.maximum(shadow, under), (soft, soft))
    patch = Item(shadow, item.stature, item.foot + pad, None, item.left - start)
    frame, own = patch.windows(*picture.shape[:2])
    darker = picture[frame] * (1 - shadow[own] / 255)[..., None]
    picture[frame] = darker.astype(np.uint8)


def annotate(placed: list[Item], *, size: tuple[int, int]) -> list[dict]:
    """Boxes, identities and visibilities, as `draw_scene` returns them, of what was placed."""
    owner = np.full(size, -1, np.int32)
    solids = [item.picture[..., 3] >= SOLID for item in placed]
    for number, (item, solid) in enumerate(zip(placed, solids, strict=True)):
        frame, own = item.windows(*size)
        owner[frame][solid[own]] = number
    shown = np.bincount(owner[owner >= 0], minlength=len(placed))
    annotations = []
    for item, solid, count in zip(placed, solids, shown, strict=True):
        if item.sighting is None:
            continue
        frame, own = item.windows(*size)
        rows = np.flatnonzero(solid[own].any(1)) + frame[0].start
        cols = np.flatnonzero(solid[own].any(0)) + frame[1].start
        box = cols[0], rows[0], cols[-1] + 1 - cols[0], rows[-1] + 1 - rows[0]
        annotations.append(
            {
                "bbox": [float(v) for v in box],
                "person_id": item.sighting.person_id,
                "visibility": round(float(count / solid.sum()), 3),
            }
        )
    return annotations
