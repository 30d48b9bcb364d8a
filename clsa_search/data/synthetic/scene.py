"""Scene: people and street furniture drawn on the ground of a camera, far to near.

All people have ground-truth boxes. The placement skips a person who would be hidden too much, or
would hide another person too much. A box is the extent of the whole person inside the image, also
behind other items; visibility is the share of the person's pixels, including those outside the
image, visible in the finished image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from clsa_search.data.synthetic.appearance import Appearance, sample_pose
from clsa_search.data.synthetic.camera import (
    Camera,
    foot_row,
    simulate_sensor,
    walkable_columns,
)
from clsa_search.data.synthetic.person import draw_person
from clsa_search.data.synthetic.props import PROPS, draw_prop
from clsa_search.data.synthetic.street import draw_background

_MEAN_STATURE = 1.72  # meters
SOLID = 96  # smallest alpha of a person's pixels
_PLACEMENT_ATTEMPTS = 30
_PROPS = {
    "shops": ("lamp", "bin", "bench", "sign", "poster", "mannequin", "coat_rack", "bollard"),
    "square": ("tree", "bench", "statue", "bin", "bollard", "bush", "lamp", "poster"),
    "road": ("car", "car", "sign", "lamp", "tree", "bollard", "bin"),
    "park": ("tree", "tree", "bush", "bush", "bench", "statue", "lamp", "bin"),
    "plaza": ("poster", "mannequin", "coat_rack", "bench", "bin", "bollard", "statue"),
    "dusk": ("car", "lamp", "lamp", "sign", "tree", "mannequin", "bin"),
}


@dataclass(frozen=True)
class ScenePerson:
    """Person to place in a scene.

    Args:
        person_id: identity, or UNLABELED.
        appearance: clothes and body.
        height: height in pixels.
    """

    person_id: int
    appearance: Appearance
    height: int


@dataclass(frozen=True)
class ScenePlan:
    """Plan of one image.

    Args:
        index: index of the image in its split, from 0.
        camera: viewpoint.
        people: people to place.
        seed: seed of poses, furniture and noise.
    """

    index: int
    camera: Camera
    people: tuple[ScenePerson, ...]
    seed: int


@dataclass(frozen=True)
class Item:
    """Cut-out placed in the scene: a person or furniture.

    Args:
        cutout: (h, w, 4) uint8 as `draw_person` returns.
        stature: height of an average adult at its place, in pixels.
        foot: row below the cut-out.
        person: person of the cut-out; None for furniture.
        left: first column; may lie outside the image.
    """

    cutout: np.ndarray
    stature: float
    foot: int
    person: ScenePerson | None
    left: int = 0

    @property
    def top(self) -> int:
        """Return the first row."""
        return self.foot - self.cutout.shape[0]

    def windows(self, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Return the slices of the visible part in the image and in the cut-out."""
        top, left = self.top, self.left
        rows = max(top, 0), min(top + self.cutout.shape[0], height)
        cols = max(left, 0), min(left + self.cutout.shape[1], width)
        rows, cols = (rows[0], max(rows)), (cols[0], max(cols))
        own = slice(rows[0] - top, rows[1] - top), slice(cols[0] - left, cols[1] - left)
        return (slice(*rows), slice(*cols)), own


def draw_scene(
    plan: ScenePlan, *, width: int, height: int, min_visible: float
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Draw the image of a plan.

    Args:
        plan: people and camera.
        width: width of the image in pixels.
        height: height of the image in pixels.
        min_visible: smallest visible part of a person.

    Returns:
        The image, (height, width, 3) uint8 BGR, and the annotation of each person: `bbox`
        [x, y, w, h] in pixels, `person_id` and `visibility` (min_visible to 1).
    """
    rng = np.random.default_rng(plan.seed)
    placed = place_items(plan, rng, size=(height, width), min_visible=min_visible)
    image = draw_background(plan.camera, width, height).copy()
    for item in placed:
        _draw_shadow(image, item, plan.camera)
        _blend(image, item)
    return simulate_sensor(image, plan.camera, rng), annotate(placed, size=(height, width))


def place_items(
    plan: ScenePlan, rng: np.random.Generator, *, size: tuple[int, int], min_visible: float
) -> list[Item]:
    """Place people and furniture, far to near, in an image of size (height, width).

    Retry until all labeled people have a place; the last attempts skip furniture and unlabeled
    people.
    """
    height = size[0]
    people = [_draw_person_item(plan.camera, person, rng, height) for person in plan.people]
    labeled = [item for item in people if _is_labeled(item)]
    furniture = _draw_furniture(plan.camera, rng, height)
    best: list[Item] = []
    for items in (
        *(people + furniture, people + furniture, people, people),
        *(labeled, labeled, labeled),
    ):
        placed = _place(items, plan.camera, rng, size, min_visible)
        best = max(best, placed, key=_count_labeled)
        if _count_labeled(best) == len(labeled):
            break
    return best


def annotate(placed: Sequence[Item], *, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Return the annotations of placed people in an image of size (height, width)."""
    owner = np.full(size, -1, np.int32)
    solids = [item.cutout[..., 3] >= SOLID for item in placed]
    for number, (item, solid) in enumerate(zip(placed, solids, strict=True)):
        frame, own = item.windows(*size)
        owner[frame][solid[own]] = number
    visible = np.bincount(owner[owner >= 0], minlength=len(placed))
    annotations = []
    for item, solid, count in zip(placed, solids, visible, strict=True):
        if item.person is None:
            continue
        frame, own = item.windows(*size)
        rows = np.flatnonzero(solid[own].any(1)) + frame[0].start
        cols = np.flatnonzero(solid[own].any(0)) + frame[1].start
        box = cols[0], rows[0], cols[-1] + 1 - cols[0], rows[-1] + 1 - rows[0]
        annotations.append(
            {
                "bbox": [float(v) for v in box],
                "person_id": item.person.person_id,
                "visibility": round(float(count / solid.sum()), 3),
            }
        )
    return annotations


def _is_labeled(item: Item) -> bool:
    return item.person is not None and item.person.person_id >= 0


def _count_labeled(items: list[Item]) -> int:
    return sum(map(_is_labeled, items))


def _draw_person_item(
    camera: Camera, person: ScenePerson, rng: np.random.Generator, height: int
) -> Item:
    appearance = person.appearance
    cutout = draw_person(
        appearance, sample_pose(rng, appearance), height=person.height, light=camera.light
    )
    stature = person.height * _MEAN_STATURE / appearance.stature
    return Item(cutout, stature, round(foot_row(camera, stature, height)), person)


def _draw_furniture(camera: Camera, rng: np.random.Generator, height: int) -> list[Item]:
    kinds = _PROPS[camera.style]
    items = []
    for _ in range(int(rng.integers(2, 6))):
        kind = kinds[int(rng.integers(len(kinds)))]
        tall = PROPS[kind][0][1]
        stature = height * np.exp(rng.uniform(np.log(0.09), np.log(min(0.6, 1.3 / tall))))
        foot = round(foot_row(camera, stature, height))
        items.append(Item(draw_prop(rng, kind, stature), float(stature), foot, None))
    return items


def _place(
    items: list[Item],
    camera: Camera,
    rng: np.random.Generator,
    size: tuple[int, int],
    min_visible: float,
) -> list[Item]:
    """Find a column for each item, far to near; skip items that fit nowhere."""
    owner = np.full(size, -1, np.int32)
    placed: list[Item] = []
    visible = np.zeros(0, np.int64)  # pixels per placed item
    required = np.zeros(0)  # smallest number of visible pixels per placed item
    for item in sorted(items, key=lambda i: i.stature):
        solid = item.cutout[..., 3] >= SOLID
        least = min_visible * solid.sum()
        for _ in range(_PLACEMENT_ATTEMPTS):
            candidate = replace(item, left=_sample_column(item, camera, rng, size[1]))
            frame, own = candidate.windows(*size)
            inside = solid[own]
            hidden = owner[frame][inside]
            remaining = visible - np.bincount(hidden[hidden >= 0], minlength=len(placed))
            if inside.sum() >= least and (remaining >= required).all():
                owner[frame][inside] = len(placed)
                placed.append(candidate)
                visible = np.append(remaining, inside.sum())
                required = np.append(required, 0 if item.person is None else least)
                break
    return placed


def _sample_column(item: Item, camera: Camera, rng: np.random.Generator, width: int) -> int:
    """Sample a left edge with the feet on the street; furniture prefers the sides."""
    low, high = walkable_columns(camera, item.stature, width)
    low, high = max(low, 0.0), min(high, float(width))
    fraction = rng.beta(0.45, 0.45) if item.person is None else rng.uniform()
    return round(low + fraction * max(high - low, 1.0) - item.cutout.shape[1] / 2)


def _blend(image: np.ndarray, item: Item) -> None:
    """Draw an item over the image, in place."""
    frame, own = item.windows(*image.shape[:2])
    part = item.cutout[own].astype(np.uint16)
    transparency = 255 - part[..., 3:]
    image[frame] = np.minimum(part[..., :3] + (image[frame] * transparency + 127) // 255, 255)


def _draw_shadow(image: np.ndarray, item: Item, camera: Camera) -> None:
    """Darken the ground under the item and along its shadow, in place."""
    strength = 0.15 if camera.style in ("dusk", "plaza") else 0.42
    height, width = item.cutout.shape[:2]
    slant = -1.1 * camera.light[0]
    depth = max(int((0.22 * camera.light[2] + 0.05) * height), 2)
    reach = int(abs(slant) * height) + 1
    soft = max(height // 24, 2)
    pad = 2 * soft
    start = pad + (reach if slant < 0 else 0)
    lay = np.array([[1, -slant, start + slant * height], [0, depth / height, pad]], np.float32)
    board = (width + reach + 2 * pad, depth + 2 * pad)
    shadow = cv2.warpAffine(item.cutout[..., 3], lay, board).astype(np.float32) * strength
    axes = (max(int(0.36 * width), 1), max(int(0.045 * height), 1))
    center = (start + width // 2, depth + pad - axes[1] // 2)
    under = cv2.ellipse(np.zeros_like(shadow), center, axes, 0, 0, 360, 120.0, -1)
    shadow = cv2.blur(np.maximum(shadow, under), (soft, soft))
    patch = Item(shadow, item.stature, item.foot + pad, None, item.left - start)
    frame, own = patch.windows(*image.shape[:2])
    darker = image[frame] * (1 - shadow[own] / 255)[..., None]
    image[frame] = darker.astype(np.uint8)
