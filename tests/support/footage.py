"""Pictures and videos of colored blocks, and a predictor that finds these without a model."""

import cv2
import numpy as np

from clsa_search.retrieval.predictor import check_boxes
from clsa_search.structures import ImageDetections
from tests.support.tiny import COLORS

GROUND = (110, 110, 110)
WIDTH = 8  # of the embeddings


def draw_blocks(people, size=(96, 72)):
    """RGB picture (height, width, 3) of blocks: {index of COLORS: x of its left edge}."""
    width, height = size
    image = np.full((height, width, 3), GROUND, dtype=np.uint8)
    for person, x in people.items():
        image[20:60, x : x + 14] = COLORS[person]
    return image


def write_image(path, people, size=(96, 72)):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), draw_blocks(people, size)[..., ::-1])
    return path


def write_video(path, frames, fps=10):
    """A video of what `draw_blocks` draws of each of the frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (96, 72))
    for people in frames:
        writer.write(draw_blocks(people)[..., ::-1])
    writer.release()
    return path


class BlockPredictor:
    """Finds the blocks of a picture; their embeddings depend on the color alone."""

    weights_sha256 = "b" * 64
    min_score = 0.5
    device = "cpu"

    def __init__(self):
        self.num_images = 0

    def prepare(self, image):
        return {"picture": image}

    def detect(self, images):
        self.num_images += len(images)
        return [self._find_one(_raw(image)) for image in images]

    def embed(self, image, boxes):
        rows = []
        for x0, y0, x1, y1 in check_boxes(boxes, image).astype(int):
            middle = image[(y0 + y1) // 2, (x0 + x1) // 2]
            rows.append(_describe(int(_distances(middle[None, None]).argmin())))
        return np.array(rows, dtype=np.float32)

    def _find_one(self, image):
        near = _distances(image)
        boxes, rows = [], []
        for person in range(len(COLORS)):
            y, x = np.nonzero((near[person] < 60) & (near.argmin(axis=0) == person))
            if len(x) > 50:  # not noise of the compression
                boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
                rows.append(_describe(person))
        boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)
        scores = np.linspace(1, 0.9, len(boxes), dtype=np.float32)
        return ImageDetections(boxes, scores, np.array(rows, dtype=np.float32).reshape(-1, WIDTH))


def _raw(image):
    return image["picture"] if isinstance(image, dict) else image


def _distances(image):
    """(P, H, W) how far each pixel's color is from each person's."""
    offsets = image[None].astype(int) - np.array(COLORS)[:, None, None]
    return np.abs(offsets).sum(axis=-1)


def _describe(person):
    row = np.full(WIDTH, 0.1)
    row[person] = 1
    return row / np.linalg.norm(row)
