"""How quickly a gallery is filled, opened and searched, and how much memory searching takes.

The unit of a search is one float32 product of the queries with a matrix of the same descriptors in
memory, and its top k.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from clsa_search.benchmark.measuring import peak_memory, time_work
from clsa_search.retrieval.gallery import Filter, GalleryStore
from clsa_search.retrieval.scenes import Scene
from clsa_search.retrieval.store import open_store

TOP = 20
PEOPLE = 5  # of a scene
_BATCH = 2000  # scenes that are added at a time
_CAMERAS = 4


@dataclass(frozen=True)
class StoreMeasurement:
    """Times in seconds, memory in units of the descriptors' own size."""

    rows: int
    width: int
    added_per_second: float  # on disk
    opening_seconds: float  # until the descriptors are in memory
    memory: float  # highest while opening and answering the batch, beyond that before
    single_seconds: float  # one query
    single_ratio: float  # to the bare product and top k
    single_camera_ratio: float  # of one query in one of four cameras, to one in all
    batch_seconds: float  # the batch of queries
    batch_ratio: float
    batch_camera_ratio: float
    image_ratio: float  # of the batch with the best match per image, to that with every match


def measure_store(
    folder: Path, *, rows: int, width: int, queries: int, device: torch.device, repeat: int
) -> StoreMeasurement:
    """Fill a new gallery with random descriptors and search it.

    Args:
        folder: where its file is made, and deleted.
        rows: detections.
        width: of the descriptors.
        queries: of a batch.
        device: where to search.
        repeat: how often a search is timed, after a first time that is not.
    """
    address = folder / "gallery.db"
    with open_store(address, weights="random", create=True) as store:
        added_per_second = _fill(store, rows, width)
    store = open_store(address, device=device)
    batch = _draw_unit(np.random.default_rng(1), queries, width)
    first: list[float] = []

    def open_and_ask() -> None:
        first.append(time_work(lambda: store.search(batch[:1], TOP), device))
        store.search(batch, TOP)

    extra, _ = peak_memory(open_and_ask, device)
    matrix = torch.cat([torch.from_numpy(x) for x in _draw_batches(rows, width)]).to(device)
    single = _time_searches(store, matrix, batch[:1], device, repeat)
    whole = _time_searches(store, matrix, batch, device, repeat)
    store.close()
    return StoreMeasurement(
        rows=rows,
        width=width,
        added_per_second=added_per_second,
        opening_seconds=first[0],
        memory=extra * 2**20 / (4 * rows * width),
        single_seconds=single["all"],
        single_ratio=single["all"] / single["bare"],
        single_camera_ratio=single["camera"] / single["all"],
        batch_seconds=whole["all"],
        batch_ratio=whole["all"] / whole["bare"],
        batch_camera_ratio=whole["camera"] / whole["all"],
        image_ratio=whole["image"] / whole["all"],
    )


def _fill(store: GalleryStore, rows: int, width: int) -> float:
    """Rows a second while adding."""
    seconds, frame = 0.0, 0
    for descriptors in _draw_batches(rows, width):
        scenes = []
        for start in range(0, len(descriptors), PEOPLE):
            mine = descriptors[start : start + PEOPLE]
            boxes = np.tile(np.float32([0, 0, 10, 20]), (len(mine), 1))
            scores = np.full(len(mine), 0.9, np.float32)
            camera = f"camera {frame % _CAMERAS}"
            scenes.append(Scene("video.mp4", boxes, scores, mine, frame, frame / 25, camera))
            frame += 1
        seconds += time_work(partial(store.add, scenes), torch.device("cpu"))
    return rows / seconds


def _time_searches(
    store: GalleryStore,
    matrix: torch.Tensor,
    queries: np.ndarray,
    device: torch.device,
    repeat: int,
) -> dict[str, float]:
    on_device = torch.from_numpy(queries).to(device)
    camera = Filter(cameras=["camera 1"])
    works = {
        "bare": lambda: [part.cpu() for part in (on_device @ matrix.T).topk(TOP)],
        "all": lambda: store.search(queries, TOP),
        "camera": lambda: store.search(queries, TOP, camera),
        "image": lambda: store.search(queries, TOP, per="image"),
    }
    return _time_in_turn(works, device, repeat)


def _time_in_turn(
    works: dict[str, Callable[[], Any]], device: torch.device, repeat: int
) -> dict[str, float]:
    """Medians; what else the machine does meanwhile slows all of them alike."""
    rounds = [
        {name: time_work(work, device) for name, work in works.items()} for _ in range(repeat + 1)
    ]
    return {name: median(times[name] for times in rounds[1:]) for name in works}


def _draw_batches(rows: int, width: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    step = _BATCH * PEOPLE
    for start in range(0, rows, step):
        yield _draw_unit(rng, min(step, rows - start), width)


def _draw_unit(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    rows = rng.standard_normal((count, width), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
