"""Clips with many people, told apart by the colors of their blocks, and a predictor of them."""

import itertools
import time

import cv2
import numpy as np

from clsa_search.retrieval.predictor import check_boxes
from clsa_search.structures import ImageDetections
from tests.support.footage import BACKGROUND

LEVELS = (20, 75, 150, 200, 250)
CODES = np.array(list(itertools.product(LEVELS, repeat=3)), np.uint8)  # color of each person
WIDTH, SLOTS = 64, 4  # of embeddings; people beside each other
_NOISE = 0.15


class CodedPredictor:
    """Detector of coded blocks in place of a model; a person's embeddings differ by noise."""

    weights_sha256 = "f" * 64
    min_score = 0.5
    device = "cpu"

    def __init__(self):
        self._rng = np.random.default_rng(0)

    def prepare(self, image, detections=None):
        return {"image": image}

    def detect(self, images):
        return [self._detect_one(one["image"] if isinstance(one, dict) else one) for one in images]

    def embed(self, image, boxes):
        rows = []
        for x0, y0, x1, y1 in check_boxes(boxes, image).astype(int):
            person = read_person(image[(y0 + y1) // 2 - 8 : (y0 + y1) // 2 + 8, x0 + 3 : x1 - 3])
            values = embed_person(person) + _NOISE * unit(self._rng.normal(size=WIDTH))
            rows.append(unit(values))
        return np.array(rows, np.float32).reshape(-1, WIDTH)

    def _detect_one(self, image):
        boxes = [
            (x, 20, x + 14, 60)
            for x in range(4, image.shape[1] - 14, 24)
            if np.abs(image[40, x + 7].astype(int) - BACKGROUND).max() > 25
        ]
        scores = np.full(len(boxes), 0.9, np.float32)
        boxes = np.array(boxes, np.float32).reshape(-1, 4)
        return ImageDetections(boxes, scores, self.embed(image, boxes))


def read_person(block):
    """Return the number of the person of a block of pixels."""
    color = block.reshape(-1, 3).mean(axis=0)
    return int(np.abs(CODES - color).sum(axis=1).argmin())


def embed_person(person):
    """Return the embedding of a person without noise; all share a part."""
    return unit(unit(np.random.default_rng(1).normal(size=WIDTH)) * 0.5 + _own(person))


def unit(values):
    return values / np.linalg.norm(values)


def draw_people(people, width=96):
    """Return an RGB image of people side by side; None leaves a gap."""
    image = np.full((72, width, 3), BACKGROUND, np.uint8)
    for slot, person in enumerate(people):
        if person is not None:
            image[20:60, 4 + 24 * slot : 18 + 24 * slot] = CODES[person]
    return image


def write_person(path, person):
    """Write an image of one person."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), draw_people([person], 24)[..., ::-1])


def write_clip(folder, start, people, seconds=3, width=96):
    """Write a clip of people who stand still, named after its start; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / time.strftime("%Y%m%dT%H%M%S.avi", time.gmtime(start))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 1, (width, 72))
    for _ in range(seconds):
        writer.write(draw_people(people, width)[..., ::-1])
    writer.release()
    return path


def _own(person):
    return unit(np.random.default_rng(1000 + person).normal(size=WIDTH))
