"""A large gallery of random sightings, to measure what is done with it.

Shape letters: N detections, D embedding width.
"""

from pathlib import Path

import numpy as np

from clsa_search.gallery import Filter, GalleryImage, GalleryStore, IndexProgress, open_store
from clsa_search.gallery.store_records import Tracklet
from clsa_search.structures import ImageDetections

WEIGHTS = "0" * 64
_CAMERAS = 8
_START = 1_777_000_000.0


def open_large_gallery(path: Path, sightings: int, length: int, files: int, width: int) -> None:
    """Make a gallery of videos, if there is none.

    Args:
        path: its file.
        sightings: number of sightings.
        length: number of detections of each.
        files: number of videos.
        width: embedding width D.
    """
    if path.exists():
        return
    rng = np.random.default_rng(0)
    partial = path.with_suffix(".part")
    partial.unlink(missing_ok=True)
    with open_store(partial, weights=WEIGHTS, create=True) as store:
        for number, count in enumerate(np.diff(np.linspace(0, sightings, files + 1).astype(int))):
            _add_video(store, number, int(count), length, width, rng)
        store.scrub()
    partial.rename(path)


def _add_video(
    store: GalleryStore,
    number: int,
    sightings: int,
    length: int,
    width: int,
    rng: np.random.Generator,
) -> None:
    """Add a video in which people follow each other, two at a time."""
    source, camera = f"/footage/{number:05}.mp4", f"camera {number % _CAMERAS}"
    start = _START + 3600.0 * (number // _CAMERAS)
    people = rng.standard_normal((sightings, width))
    images = []
    for frame in range(length * ((sightings + 1) // 2)):
        shown = people[2 * (frame // length) :][:2]
        rows = shown + 0.5 * rng.standard_normal(shown.shape)
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        boxes = np.array([[10, 10, 50, 90], [60, 10, 100, 90]], np.float32)[: len(rows)]
        found = ImageDetections(boxes, np.full(len(rows), 0.9, np.float32), rows)
        images.append(GalleryImage(source, found, frame, start + frame, camera))
    progress = IndexProgress(source, "1 bytes of 1", None, None, None, camera, start, "given")
    store.add(images, [progress])
    detections = store.list(Filter(sources=[source]))
    groups: dict[tuple[int, bool], list] = {}
    for one in detections:
        groups.setdefault(((one.frame or 0) // length, one.box[0] > 30), []).append(one)
    tracklets = []
    for group in groups.values():
        mean = np.mean([one.embedding for one in group], axis=0)
        first, last = group[0], group[-1]
        tracklets.append(
            Tracklet(
                *(first.detection_id, source, camera, first.time, last.time, first.frame),
                *(last.frame, len(group), first.detection_id, 0.8),
                (mean / np.linalg.norm(mean)).astype(np.float32),
                *(first.score, first.detection_id),
            )
        )
    store.set_tracklets(source, tracklets, [[o.detection_id for o in g] for g in groups.values()])
