"""Size and upkeep of a large gallery: bytes, memory, backup, copy, loading.

python -m benchmarks.speed.gallery_size [--detections 200000] [--width 256] [--keep FILE]

Ten detections make a sighting. Prints seconds of the clock and of the processor, which differ on a
busy machine. `--keep` leaves the gallery for other measurements.
"""

import argparse
import os
import resource
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from clsa_search.gallery import (
    GalleryImage,
    GalleryStore,
    IndexProgress,
    Tracklet,
    copy_gallery,
    open_store,
)
from clsa_search.retrieval.source_coverage import read_coverage
from clsa_search.structures import ImageDetections

_PEOPLE, _FRAMES = 10, 100  # of a file
_LENGTH = 10  # detections of a sighting


def fill(store: GalleryStore, files: int, width: int) -> None:
    """Store files with people and their sightings."""
    rng = np.random.default_rng(0)
    left = 50 * np.arange(_PEOPLE, dtype=np.float32)
    boxes = np.stack([left, left * 0, left + 40, left * 0 + 90], axis=1)
    scores = np.full(_PEOPLE, 0.9, np.float32)
    for number in range(files):
        name, camera = f"/footage/{number:05}.mp4", f"camera {number % 8}"
        start = 1.7e9 + 100.0 * number
        rows = rng.standard_normal((_FRAMES, _PEOPLE, width)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=2, keepdims=True)
        images = [
            GalleryImage(name, ImageDetections(boxes, scores, one), i, start + i, camera)
            for i, one in enumerate(rows)
        ]
        ids = store.add(images, [IndexProgress(name, "state", camera=camera, start=start)])
        # person after person, ten frames each
        members = ids.reshape(-1, _LENGTH, _PEOPLE).transpose(0, 2, 1).reshape(-1, _LENGTH)
        means = rows.reshape(-1, _LENGTH, _PEOPLE, width).mean(axis=1).reshape(-1, width)
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        tracklets = []
        for row, (one, mean) in enumerate(zip(members.tolist(), means, strict=True)):
            frame = row // _PEOPLE * _LENGTH
            times = start + frame, start + frame + _LENGTH - 1
            frames = frame, frame + _LENGTH - 1
            place = one[0], name, camera, *times, *frames
            tracklets.append(Tracklet(*place, _LENGTH, one[0], 0.5, mean, 0.9, one[0]))
        store.set_tracklets(name, tracklets, members.tolist())


def measure(label: str, run: Callable[[], object]) -> None:
    """Print how long something takes."""
    clock, processor = time.perf_counter(), time.process_time()
    run()
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    print(f"{label}: {clock:.2f} s of the clock, {processor:.2f} s of the processor", flush=True)


def back_up(path: Path, target: Path) -> None:
    """Copy a gallery in use, as `.backup` of sqlite3 does."""
    with sqlite3.connect(path) as source, sqlite3.connect(target) as copy:
        source.backup(copy)


def search(path: Path, width: int) -> None:
    """Open a gallery and search its sightings and its detections."""
    query = np.eye(1, width, dtype=np.float32)
    with open_store(path) as store:
        for label, run in (
            ("the first search for sightings", lambda: store.search_tracklets(query, 20)),
            ("the second", lambda: store.search_tracklets(query, 20)),
            ("the first search for detections", lambda: store.search(query, 20)),
        ):
            before = read_memory()
            measure(label, run)
            print(f"  memory: {read_memory() - before:.0f} MB more")


def read_memory() -> float:
    """Return the largest memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(argv: Sequence[str] | None = None) -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detections", type=int, default=200_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--weights", default="a" * 64, help="SHA-256 of the weights")
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        path = args.keep or Path(folder) / "gallery.db"
        with open_store(path, weights=args.weights, create=True) as store:
            files = args.detections // (_FRAMES * _PEOPLE)
            measure("storing", lambda: fill(store, files, args.width))
            store.scrub()
            counts = store.count(), store.count_tracklets()
        size = os.path.getsize(path)
        print(f"{counts[0]:,} detections, {counts[1]:,} sightings: {size / 1e6:.0f} MB")
        print(f"{size / counts[0]:.0f} bytes per detection, {size / counts[1]:.0f} per sighting")
        measure("backup", lambda: back_up(path, Path(folder) / "backup.db"))
        search(path, args.width)
        with open_store(path) as store:
            measure("the footage of all files", lambda: read_coverage(store))
            measure("copy", lambda: copy_gallery(store, str(Path(folder) / "copy.db")))


if __name__ == "__main__":
    main()
