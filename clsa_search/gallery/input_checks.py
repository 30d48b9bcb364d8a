"""Checks of a store's arguments.

Shape letters: M detections of one image, N of all images of a batch, Q queries, D embedding width.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
import torch

from clsa_search.argument_checks import check_type
from clsa_search.errors import InputError
from clsa_search.gallery.detection_origins import ORIGINS
from clsa_search.gallery.store_records import Filter, GalleryImage, IndexConflict, IndexProgress
from clsa_search.structures import UNIT_TOLERANCE, ImageDetections, Ragged

MAX_FRAME = 2**31 - 1


class _Fault(NamedTuple):
    """A wrong row of an array.

    Args:
        row: number of the row.
        reason: the fault and the expected value.
    """

    row: int
    reason: str


def select_filled(address: str, images: Sequence[GalleryImage]) -> list[GalleryImage]:
    """Return the images with detections.

    Raises:
        InputError: an image is something else.
    """
    for image in images:
        if not isinstance(image, GalleryImage) or not isinstance(image.detections, ImageDetections):
            raise InputError(
                f"{address}: an image is a {type(image).__name__}; expected a GalleryImage with "
                "ImageDetections"
            )
    return [image for image in images if np.size(image.detections.scores)]


def join_images(
    address: str, images: Sequence[GalleryImage], width: int | None
) -> Ragged[ImageDetections]:
    """Check the detections of a batch and join them.

    Args:
        address: address of the store, for messages.
        images: at least one, each with at least one detection.
        width: embedding width of the store; None accepts any single width.

    Returns:
        (N, ...) float32 contiguous arrays, one row of the ragged array for each image.

    Raises:
        InputError: a field or shape is wrong, a box has no valid corners, a number is not finite,
            or an embedding does not have unit length or the store's width.
    """
    width = width or (np.shape(images[0].detections.embeddings) or (0,))[-1]
    for image in images:
        _check_fields(address, image)
        _check_shapes(address, image, width)
    parts = [image.detections for image in images]
    joined = ImageDetections(
        boxes=_join([part.boxes for part in parts]),
        scores=_join([part.scores for part in parts]),
        embeddings=_join([part.embeddings for part in parts]),
    )
    batch = Ragged.from_lengths(joined, [len(part) for part in parts])
    for name, fault in (
        ("boxes", _find_faulty_box(joined.boxes)),
        ("scores", _find_row(~np.isfinite(joined.scores), "is not finite; expected numbers")),
        ("embeddings", _find_faulty_embedding(joined.embeddings)),
    ):
        if fault:
            owner = int(batch.owners[fault.row])
            row = fault.row - int(batch.offsets[owner])
            raise InputError(f"{_name(address, images[owner])}: {name}: row {row} {fault.reason}")
    return batch


def check_queries(
    address: str, queries: np.ndarray | torch.Tensor, width: int | None, k: int, per: str
) -> torch.Tensor:
    """Return the queries as (Q, D) float32 after a check of a search's arguments.

    Raises:
        InputError: see `GalleryStore.search_ids`.
    """
    try:
        # copied, as PyTorch warns of arrays that cannot be written
        rows = queries if isinstance(queries, torch.Tensor) else np.array(queries)
        queries = torch.as_tensor(rows).detach().float()
    except (TypeError, ValueError, RuntimeError) as error:
        given = type(queries).__name__
        raise InputError(f"{address}: queries: a {given}; expected an array (Q, D)") from error
    if queries.ndim != 2 or width not in (None, queries.shape[1]):
        expected = f"(Q, {width or 'D'}), as the store's embeddings"
        raise InputError(f"{address}: queries of shape {tuple(queries.shape)}; expected {expected}")
    fault = _find_faulty_embedding(queries.cpu().numpy())
    if fault:
        raise InputError(f"{address}: queries: row {fault.row} {fault.reason}")
    if not isinstance(k, Integral) or k < 1:
        raise InputError(f"{address}: k: {k!r}; expected an integer, 1 or more")
    if per not in ("image", "match"):
        raise InputError(f"{address}: per: {per!r}; expected 'image' or 'match'")
    return queries


def check_where(where: Filter | None) -> None:
    """Check the type of a condition on detections.

    Raises:
        InputError: it is neither a filter nor None.
    """
    check_type("where", where, (Filter, type(None)), "a Filter, or None")


def check_ids(address: str, ids: Sequence[int] | np.ndarray) -> list[int]:
    """Return ids of detections as a list of integers.

    Raises:
        InputError: they are not integers of 64 bits.
    """
    found = np.asarray(ids).tolist() if isinstance(ids, np.ndarray) else ids
    is_list = isinstance(found, Sequence) and not isinstance(found, str | bytes)
    if not is_list or not all(isinstance(one, Integral) and abs(int(one)) < 2**63 for one in found):
        raise InputError(f"{address}: ids: {ids!r}; expected a list of ids of detections")
    return [int(one) for one in found]


def check_listing(
    address: str,
    order_by: str,
    limit: int | None,
    offset: int,
    orders: Sequence[str] = ("id", "time", "score"),
) -> None:
    """Check the arguments of `GalleryStore.list`, or of another listing with its own orders.

    Raises:
        InputError: the order is unknown, or a number is negative.
    """
    if order_by not in orders:
        *others, last = map(repr, orders)
        expected = f"{', '.join(others)} or {last}"
        raise InputError(f"{address}: order_by: {order_by!r}; expected {expected}")
    for name, value in (("limit", limit), ("offset", offset)):
        if value is not None and not (isinstance(value, Integral) and 0 <= int(value) < 2**63):
            raise InputError(f"{address}: {name}: {value!r}; expected 0 or more, an integer")


def check_weights(address: str, weights: str | None, stored: str) -> None:
    """Check that the embeddings to add or search come from the stored weights.

    Raises:
        InputError: the weights differ.
    """
    if weights not in (None, stored):
        raise InputError(
            f"{address}: holds embeddings of the weights {stored}; expected these, "
            f"not {weights}: embeddings of different weights cannot be compared"
        )


def check_progress(
    address: str,
    progress: Sequence[IndexProgress],
    stored: Mapping[str, tuple[str | None, int | None]],
) -> None:
    """Check that new progress continues the stored progress.

    Args:
        address: address of the store, for messages.
        progress: new progress.
        stored: fingerprint and next frame of each known source.

    Raises:
        IndexConflict: a source has other progress.
    """
    conflicts = []
    for one in progress:
        expected: tuple[str | None, int | None] = None, None
        if one.after is not None:
            expected = one.fingerprint, one.after
        if one.replaces is not None:
            expected = one.replaces.fingerprint, one.replaces.next_frame
        if stored.get(one.source, (None, None)) != expected:
            conflicts.append(one.source)
    if conflicts:
        raise IndexConflict(address, conflicts)


def _find_faulty_embedding(rows: np.ndarray) -> _Fault | None:
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    is_unit = np.abs(norms - 1) <= UNIT_TOLERANCE  # false for NaN
    return _find_row(~is_unit, "is not of unit length; expected L2-normalized finite numbers")


def _find_faulty_box(boxes: np.ndarray) -> _Fault | None:
    is_right = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] >= boxes[:, :2]).all(axis=1)
    return _find_row(~is_right, "is wrong; expected finite x0 <= x1 and y0 <= y1")


def _find_row(is_wrong: np.ndarray, reason: str) -> _Fault | None:
    return _Fault(int(is_wrong.argmax()), reason) if is_wrong.any() else None


def _check_fields(address: str, image: GalleryImage) -> None:
    for field, is_right, expected in (
        ("source", isinstance(image.source, str) and image.source, "a path"),
        ("camera", image.camera is None or isinstance(image.camera, str), "None or text"),
        ("frame", _is_frame(image.frame), f"None or an integer from 0 to {MAX_FRAME}"),
        ("time", _is_time(image.time), "None or seconds"),
        ("origin", image.origin in ORIGINS, f"one of {', '.join(ORIGINS)}"),
    ):
        if not is_right:
            value = getattr(image, field)
            raise InputError(f"{_name(address, image)}: {field}: {value!r}; expected {expected}")


def _is_frame(value: object) -> bool:
    return value is None or isinstance(value, Integral) and 0 <= int(value) <= MAX_FRAME


def _is_time(value: object) -> bool:
    return value is None or isinstance(value, Real) and math.isfinite(value)


def _check_shapes(address: str, image: GalleryImage, width: int) -> None:
    count = np.size(image.detections.scores)
    for field, expected in (
        ("boxes", (count, 4)),
        ("scores", (count,)),
        ("embeddings", (count, width)),
    ):
        shape = np.shape(getattr(image.detections, field))
        if shape != expected:
            raise InputError(
                f"{_name(address, image)}: {field}: shape {shape}; expected {expected}, "
                f"with {count} scores and the gallery's width of {width}"
            )


def _join(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.ascontiguousarray(np.concatenate(arrays), dtype="<f4")


def _name(address: str, image: GalleryImage) -> str:
    frame = "" if image.frame is None else f" frame {image.frame}"
    return f"{address}: image {image.source!r}{frame}"


def check_relink(address: str, source: str, path: str, known: Collection[str]) -> None:
    """Check that a source can get another path.

    Args:
        address: address of the store.
        source: stored path.
        path: new path.
        known: stored ones of the two.

    Raises:
        InputError: the source is not stored, or the new path is.
    """
    if source not in known:
        raise InputError(f"{address}: {source}: is not indexed; expected an indexed source")
    if path in known:
        raise InputError(
            f"{address}: {path}: is indexed already; expected a new path: delete one of the two "
            f"sources, {source} is the other one"
        )
