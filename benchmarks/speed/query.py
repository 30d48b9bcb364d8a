"""Speed of filling, opening and searching a gallery, and memory of a search.

The limit of a search is one float32 product of the queries with a matrix of the same embeddings in
memory, and its top k. The limit of adding is writing as many bytes to the same disk.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.speed.inputs import generate_embeddings
from benchmarks.speed.measurement import Measurement
from benchmarks.speed.operations import OperationCounts
from benchmarks.speed.timing import peak_memory, time_call
from clsa_search.gallery import Filter, GalleryImage, GalleryStore, open_store
from clsa_search.structures import ImageDetections

TOP = 20
DETECTIONS_PER_IMAGE = 5
_BATCH_IMAGES = 2000
_CAMERAS = 4
_ONE_CAMERA = Filter(cameras=["camera 1"])


def measure_query(
    folder: Path,
    *,
    detections: int,
    width: int,
    queries: int,
    device: torch.device,
    repeat: int,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Measurement]:
    """Fill a new gallery with random embeddings, open it and search it.

    Args:
        folder: folder of the gallery's temporary file.
        detections: number of detections.
        width: embedding width.
        queries: number of queries in a batch.
        device: device of the search.
        repeat: number of timings of opening and of each search.
        dtype: dtype of the embeddings in memory, see `open_store`.
    """
    address = folder / "gallery.db"
    with open_store(address, weights="random", create=True) as store:
        yield _measure_adding(store, folder / "plain", detections, width)
    reopen = partial(open_store, address, device=device, dtype=dtype)
    batch = generate_embeddings(np.random.default_rng(1), queries, width)
    yield _measure_opening(reopen, batch, detections, dtype.itemsize, device, repeat)
    matrix = _make_matrix(detections, width).to(device)
    with reopen() as store:
        for some in (batch[:1], batch):
            yield from _measure_searches(store, some, matrix, dtype.itemsize, repeat)


def _measure_adding(store: GalleryStore, plain: Path, detections: int, width: int) -> Measurement:
    """Time batches and, in turn, a plain file of as many bytes on the same disk."""
    seconds, limit, frame = 0.0, 0.0, 0
    device = torch.device("cpu")
    for embeddings in _generate_batches(detections, width):
        images = _make_images(embeddings, frame)
        frame += len(images)
        seconds += time_call(partial(store.add, images), device)
        limit += time_call(partial(_write, plain, embeddings), device)
    plain.unlink()
    return Measurement(
        name=f"adding, width {width}",
        unit="detection",
        seconds=seconds / detections,
        limit_seconds=limit / detections,
        notes={"detections": detections},
    )


def _make_images(embeddings: np.ndarray, first_frame: int) -> list[GalleryImage]:
    images: list[GalleryImage] = []
    for start in range(0, len(embeddings), DETECTIONS_PER_IMAGE):
        some = embeddings[start : start + DETECTIONS_PER_IMAGE]
        boxes = np.tile(np.array([0, 0, 10, 20], np.float32), (len(some), 1))
        found = ImageDetections(boxes, np.full(len(some), 0.9, np.float32), some)
        frame = first_frame + len(images)
        camera = f"camera {frame % _CAMERAS}"
        images.append(GalleryImage("video.mp4", found, frame, frame / 25, camera))
    return images


def _write(path: Path, embeddings: np.ndarray) -> None:
    """Write a file and wait for the disk, as a commit does."""
    with path.open("wb") as file:
        file.write(embeddings.data)
        os.fsync(file.fileno())


def _measure_opening(
    reopen: Callable[[], GalleryStore],
    batch: np.ndarray,
    detections: int,
    item_bytes: int,
    device: torch.device,
    repeat: int,
) -> Measurement:
    """Time opening until the first result: every embedding is read from the file to memory."""
    seconds, width = [], batch.shape[1]

    def open_and_search(queries: np.ndarray) -> None:
        with reopen() as store:
            seconds.append(time_call(lambda: store.search_ids(batch[:1], TOP), device))
            store.search_ids(queries, TOP)

    memory_mb, _ = peak_memory(lambda: open_and_search(batch), device)
    for _ in range(repeat - 1):
        open_and_search(batch[:1])
    matrix_bytes = item_bytes * detections * width
    return Measurement(
        name=f"opening, width {width}",
        unit="opening",
        seconds=median(seconds),
        memory_mb=memory_mb,
        operations=OperationCounts(0, 4 * detections * width + matrix_bytes, 0),
        notes={"detections": detections, "memory / matrix": memory_mb * 2**20 / matrix_bytes},
    )


def _measure_searches(
    store: GalleryStore, queries: np.ndarray, matrix: torch.Tensor, item_bytes: int, repeat: int
) -> Iterator[Measurement]:
    """Time searches of all detections, of one camera in four, and for the best of each image."""
    on_device = torch.from_numpy(queries).to(matrix.device)
    searches = {
        "bare": lambda: [part.cpu() for part in (on_device @ matrix.T).topk(min(TOP, len(matrix)))],
        "all": lambda: store.search_ids(queries, TOP),
        "camera": lambda: store.search_ids(queries, TOP, _ONE_CAMERA),
        "image": lambda: store.search_ids(queries, TOP, per="image"),
    }
    seconds = _time_in_turn(searches, matrix.device, repeat)
    (detections, width), count = matrix.shape, len(queries)
    label = f"batch of {count}" if count > 1 else "one query"
    for name, suffix, base, ratio in (
        ("all", "", "bare", "times a bare product"),
        ("camera", ", one camera in four", "all", "times all cameras"),
        ("image", ", best of each image", "all", "times every match"),
    ):
        searched = store.count(_ONE_CAMERA) if name == "camera" else detections
        yield Measurement(
            name=f"{label}{suffix}, width {width}",
            unit="query",
            seconds=seconds[name] / count,
            operations=OperationCounts(
                2 * searched * width, item_bytes * searched * width // count, 0
            ),
            notes={"detections": detections, ratio: seconds[name] / seconds[base]},
        )


def _time_in_turn(
    calls: dict[str, Callable[[], Any]], device: torch.device, repeat: int
) -> dict[str, float]:
    """Return the median of each call; other load on the machine slows all calls alike."""
    rounds = [
        {name: time_call(call, device) for name, call in calls.items()} for _ in range(repeat + 1)
    ]
    return {name: median(times[name] for times in rounds[1:]) for name in calls}


def _make_matrix(detections: int, width: int) -> torch.Tensor:
    """Return the added embeddings; they are never in memory twice."""
    matrix, start = torch.empty(detections, width), 0
    for batch in _generate_batches(detections, width):
        matrix[start : start + len(batch)] = torch.from_numpy(batch)
        start += len(batch)
    return matrix


def _generate_batches(detections: int, width: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    step = _BATCH_IMAGES * DETECTIONS_PER_IMAGE
    for start in range(0, detections, step):
        yield generate_embeddings(rng, min(step, detections - start), width)
