"""What is added to a gallery: the people of one photograph or frame after another, checked.

Shape letters: m people of one scene, B of all scenes of a batch, D width of a embedding.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np

from clsa_search.errors import InputError

UNIT_TOLERANCE = 1e-2  # of a embedding's norm; those normalized in half precision pass
MAX_FRAME = 2**31 - 1


@dataclass(frozen=True)
class GalleryImage:
    """The people found in one photograph, or in one frame of a video."""

    source: str  # path
    boxes: np.ndarray  # (m, 4) XYXY in pixels of the source
    scores: np.ndarray  # (m,)
    embeddings: np.ndarray  # (m, D) unit rows
    frame: int | None = None  # from 0; None: a photograph
    time: float | None = None  # seconds; None: not known
    camera: str | None = None


class Fault(NamedTuple):
    """What is wrong with a row of an array, and what would be right."""

    row: int
    reason: str


class Batch(NamedTuple):
    """The people of several scenes, float32 and contiguous."""

    scene: np.ndarray  # (B,) which of the scenes
    boxes: np.ndarray  # (B, 4)
    scores: np.ndarray  # (B,)
    embeddings: np.ndarray  # (B, D)


def join_scenes(address: str, scenes: Sequence[GalleryImage], width: int | None) -> Batch:
    """Check and join.

    Args:
        address: of the store, for errors.
        scenes: at least one, each of at least one person.
        width: of the store's embeddings; None: any, but one.

    Raises:
        InputError: a shape is wrong, boxes are inside out, numbers are not finite, embeddings
            are not of unit length, or have another width than the store's.
    """
    width = width or (np.shape(scenes[0].embeddings) or (0,))[-1]
    for scene in scenes:
        _check_labels(address, scene)
        _check_shapes(address, scene, width)
    batch = Batch(
        scene=np.repeat(np.arange(len(scenes)), [len(scene.scores) for scene in scenes]),
        boxes=_join([scene.boxes for scene in scenes]),
        scores=_join([scene.scores for scene in scenes]),
        embeddings=_join([scene.embeddings for scene in scenes]),
    )
    for name, fault in (
        ("boxes", _find_faulty_box(batch.boxes)),
        ("scores", _find_row(~np.isfinite(batch.scores), "is not finite; expected numbers")),
        ("embeddings", find_faulty_embedding(batch.embeddings)),
    ):
        if fault:
            scene = batch.scene[fault.row]
            row = fault.row - int(np.searchsorted(batch.scene, scene))
            where = _name(address, scenes[scene])
            raise InputError(f"{where}: {name}: row {row} {fault.reason}")
    return batch


def find_faulty_embedding(rows: np.ndarray) -> Fault | None:
    """The first of the rows (B, D) that is no unit vector."""
    norms = np.sqrt(np.einsum("bd,bd->b", rows, rows))
    is_unit = np.abs(norms - 1) <= UNIT_TOLERANCE  # not so of NaN
    return _find_row(~is_unit, "is not of unit length; expected L2-normalized finite numbers")


def _find_faulty_box(boxes: np.ndarray) -> Fault | None:
    is_right = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] >= boxes[:, :2]).all(axis=1)
    return _find_row(~is_right, "is wrong; expected finite x0 <= x1 and y0 <= y1")


def _find_row(is_wrong: np.ndarray, reason: str) -> Fault | None:
    return Fault(int(is_wrong.argmax()), reason) if is_wrong.any() else None


def _check_labels(address: str, scene: GalleryImage) -> None:
    for field, is_right, expected in (
        ("source", isinstance(scene.source, str) and scene.source, "a path"),
        ("camera", scene.camera is None or isinstance(scene.camera, str), "None or text"),
        ("frame", _is_frame(scene.frame), f"None or an integer from 0 to {MAX_FRAME}"),
        ("time", _is_time(scene.time), "None or seconds"),
    ):
        if not is_right:
            value = getattr(scene, field)
            raise InputError(f"{_name(address, scene)}: {field}: {value!r}; expected {expected}")


def _is_frame(value: object) -> bool:
    return value is None or isinstance(value, Integral) and 0 <= value <= MAX_FRAME


def _is_time(value: object) -> bool:
    return value is None or isinstance(value, Real) and math.isfinite(value)


def _check_shapes(address: str, scene: GalleryImage, width: int) -> None:
    count = np.size(scene.scores)
    for field, expected in (
        ("boxes", (count, 4)),
        ("scores", (count,)),
        ("embeddings", (count, width)),
    ):
        shape = np.shape(getattr(scene, field))
        if shape != expected:
            raise InputError(
                f"{_name(address, scene)}: {field}: shape {shape}; expected {expected}, "
                f"with {count} scores and the gallery's width of {width}"
            )


def _join(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.ascontiguousarray(np.concatenate(arrays), dtype="<f4")


def _name(address: str, scene: GalleryImage) -> str:
    frame = "" if scene.frame is None else f" frame {scene.frame}"
    return f"{address}: scene {scene.source!r}{frame}"
