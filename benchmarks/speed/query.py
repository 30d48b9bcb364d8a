"""How quickly a gallery is filled, opened and searched, and how much memory searching takes.

A search is compared with one float32 product of the queries with a matrix of the same embeddings
in memory, and its top k; adding with writing as many bytes to the same disk.
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
PEOPLE = 5  # of a scene
_BATCH = 2000  # scenes that are added at a time
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
        folder: where its file is made, and deleted.
        detections: detections.
        width: of the embeddings.
        queries: of a batch.
        device: where to search.
        repeat: how often opening and each search are timed.
        dtype: in which the embeddings are held, see `open_store`.
    """
    address = folder / "gallery.db"
    with open_store(address, weights="random", create=True) as store:
        yield _measure_adding(store, folder / "plain", detections, width)
    reopen = partial(open_store, address, device=device, dtype=dtype)
    batch = generate_embeddings(np.random.default_rng(1), queries, width)
    yield _measure_opening(reopen, batch, detections, dtype.itemsize, device, repeat)
    matrix = _draw_matrix(detections, width).to(device)
    with reopen() as store:
        for asked in (batch[:1], batch):
            yield from _measure_searches(store, asked, matrix, dtype.itemsize, repeat)


def _measure_adding(store: GalleryStore, plain: Path, detections: int, width: int) -> Measurement:
    """Beside each batch as many bytes go to a plain file, so that both meet the same disk."""
    seconds, limit, frame = 0.0, 0.0, 0
    device = torch.device("cpu")
    for embeddings in _draw_batches(detections, width):
        scenes = []
        for start in range(0, len(embeddings), PEOPLE):
            mine = embeddings[start : start + PEOPLE]
            boxes = np.tile(np.float32([0, 0, 10, 20]), (len(mine), 1))
            scores = np.full(len(mine), 0.9, np.float32)
            camera = f"camera {frame % _CAMERAS}"
            found = ImageDetections(boxes, scores, mine)
            scenes.append(GalleryImage("video.mp4", found, frame, frame / 25, camera))
            frame += 1
        seconds += time_call(partial(store.add, scenes), device)
        limit += time_call(partial(_write, plain, embeddings), device)
    plain.unlink()
    return Measurement(
        name=f"adding, width {width}",
        unit="detection",
        seconds=seconds / detections,
        limit_seconds=limit / detections,
        notes={"detections": detections},
    )


def _write(path: Path, embeddings: np.ndarray) -> None:
    """To the disk itself, as a commit does."""
    with path.open("wb") as file:
        file.write(embeddings.data)
        os.fsync(file.fileno())


def _measure_opening(
    reopen: Callable[[], GalleryStore],
    batch: np.ndarray,
    detections: int,
    held_bytes: int,
    device: torch.device,
    repeat: int,
) -> Measurement:
    """Until a first query is answered: every embedding is read from the file and held."""
    seconds, width = [], batch.shape[1]

    def open_and_ask(queries: np.ndarray) -> None:
        with reopen() as store:
            seconds.append(time_call(lambda: store.search_ids(batch[:1], TOP), device))
            store.search_ids(queries, TOP)

    memory_mb, _ = peak_memory(lambda: open_and_ask(batch), device)
    for _ in range(repeat - 1):
        open_and_ask(batch[:1])
    held = held_bytes * detections * width
    return Measurement(
        name=f"opening, width {width}",
        unit="opening",
        seconds=median(seconds),
        memory_mb=memory_mb,
        operations=OperationCounts(0, 4 * detections * width + held, 0),
        notes={"detections": detections, "memory / matrix": memory_mb * 2**20 / held},
    )


def _measure_searches(
    store: GalleryStore, queries: np.ndarray, matrix: torch.Tensor, held_bytes: int, repeat: int
) -> Iterator[Measurement]:
    """In all detections, in those of one camera in four, and for the best match of each picture."""
    on_device = torch.from_numpy(queries).to(matrix.device)
    works = {
        "bare": lambda: [part.cpu() for part in (on_device @ matrix.T).topk(min(TOP, len(matrix)))],
        "all": lambda: store.search_ids(queries, TOP),
        "camera": lambda: store.search_ids(queries, TOP, _ONE_CAMERA),
        "image": lambda: store.search_ids(queries, TOP, per="image"),
    }
    seconds = _time_in_turn(works, matrix.device, repeat)
    (detections, width), count = matrix.shape, len(queries)
    label = f"batch of {count}" if count > 1 else "one query"
    for name, what, base, ratio in (
        ("all", "", "bare", "times a bare product"),
        ("camera", ", one camera in four", "all", "times all cameras"),
        ("image", ", best of each picture", "all", "times every match"),
    ):
        searched = store.count(_ONE_CAMERA) if name == "camera" else detections
        yield Measurement(
            name=f"{label}{what}, width {width}",
            unit="query",
            seconds=seconds[name] / count,
            operations=OperationCounts(
                2 * searched * width, held_bytes * searched * width // count, 0
            ),
            notes={"detections": detections, ratio: seconds[name] / seconds[base]},
        )


def _time_in_turn(
    works: dict[str, Callable[[], Any]], device: torch.device, repeat: int
) -> dict[str, float]:
    """Medians; what else the machine does meanwhile slows all of them alike."""
    rounds = [
        {name: time_call(work, device) for name, work in works.items()} for _ in range(repeat + 1)
    ]
    return {name: median(times[name] for times in rounds[1:]) for name in works}


def _draw_matrix(detections: int, width: int) -> torch.Tensor:
    """The embeddings that were added, never there twice."""
    matrix, start = torch.empty(detections, width), 0
    for batch in _draw_batches(detections, width):
        matrix[start : start + len(batch)] = torch.from_numpy(batch)
        start += len(batch)
    return matrix


def _draw_batches(detections: int, width: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    step = _BATCH * PEOPLE
    for start in range(0, detections, step):
        yield generate_embeddings(rng, min(step, detections - start), width)
