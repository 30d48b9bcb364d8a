"""Hand-made detections of walking people for the tests of linking."""

import numpy as np

from clsa_search.gallery import GalleryImage
from clsa_search.sightings.linking import LinkInput
from clsa_search.structures import ImageDetections

HEIGHT = 100.0


def look(*weights, width=16):
    """Return an embedding of unit length from the first coordinates."""
    values = np.zeros(width, np.float32)
    values[: len(weights)] = weights
    return values / np.linalg.norm(values)


def make_input(rows, timed=True):
    """Return detections from (frame, center, embedding) at one frame a second, sorted by frame."""
    rows = sorted(rows, key=lambda row: row[0])
    frames = np.array([row[0] for row in rows], np.int64)
    centers = np.array([row[1] for row in rows], float)
    half = HEIGHT / 4
    boxes = np.stack(
        [centers - half, np.zeros_like(centers), centers + half, np.full_like(centers, HEIGHT)], 1
    )
    times = frames.astype(float) if timed else np.full(len(rows), np.nan)
    return LinkInput(frames, times, boxes, np.stack([row[2] for row in rows]))


def make_crowd(people=8, frames=20, width=16, noise=0.2, seed=0):
    """Return (frame, center, embedding) and the person of each: far apart, walking in parallel."""
    rng = np.random.default_rng(seed)
    looks = np.eye(people, width)
    rows, owners = [], []
    for frame in range(frames):
        for person in range(people):
            values = looks[person] + noise * rng.normal(size=width) / np.sqrt(width)
            rows.append((frame, 1000.0 * person + 60 * frame, look(*values, width=width)))
            owners.append(person)
    return rows, np.array(owners)


def make_clip(people, source, frames, start, camera="door", fps=1):
    """Return the images of a clip.

    Args:
        people: function of a frame's time to [(center, embedding), ...].
        source: path of the clip.
        frames: number of frames.
        start: time of the first one.
        camera: name of the camera.
        fps: frames a second.
    """
    images = []
    for frame in range(frames):
        found = people(start + frame / fps)
        if not found:
            continue
        boxes = [(x - HEIGHT / 4, 0, x + HEIGHT / 4, HEIGHT) for x, _ in found]
        detections = ImageDetections(
            np.array(boxes, np.float32),
            np.full(len(found), 0.9, np.float32),
            np.stack([embedding for _, embedding in found]),
        )
        images.append(GalleryImage(source, detections, frame, start + frame / fps, camera))
    return images
