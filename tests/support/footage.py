"""Images and videos of colored blocks, and a predictor that detects them without a model."""

import cv2
import numpy as np

from clsa_search.retrieval.predictor import check_boxes
from clsa_search.structures import ImageDetections
from tests.support.tiny import COLORS

BACKGROUND = (110, 110, 110)
WIDTH = 8  # of the embeddings


def draw_blocks(blocks, size=(96, 72)):
    """Return an RGB image (height, width, 3) of blocks: {index of COLORS: x of the left edge}."""
    width, height = size
    image = np.full((height, width, 3), BACKGROUND, dtype=np.uint8)
    for color, x in blocks.items():
        image[20:60, x : x + 14] = COLORS[color]
    return image


def write_image(path, blocks, size=(96, 72)):
    """Write an image of blocks and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), draw_blocks(blocks, size)[..., ::-1])
    return path


def write_video(path, frames, fps=10, codec="MJPG"):
    """Write a video, one frame for each item of `frames`, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, (96, 72))
    for blocks in frames:
        writer.write(draw_blocks(blocks)[..., ::-1])
    writer.release()
    return path


class BlockPredictor:
    """Detector of blocks in place of a model; their embeddings depend on the color only."""

    weights_sha256 = "b" * 64
    min_score = 0.5
    device = "cpu"

    def __init__(self):
        self.num_images = 0  # images so far

    def prepare(self, image, detections=None):
        return {"image": image, "detections": detections}

    def detect(self, images):
        self.num_images += len(images)
        return [
            self._detect_one(**image) if isinstance(image, dict) else self._detect_one(image)
            for image in images
        ]

    def embed(self, image, boxes):
        rows = []
        for x0, y0, x1, y1 in check_boxes(boxes, image).astype(int):
            center = image[(y0 + y1) // 2, (x0 + x1) // 2]
            rows.append(embed_color(int(color_distances(center[None, None]).argmin())))
        return np.array(rows, dtype=np.float32)

    def _detect_one(self, image, detections=None):
        if detections is not None:
            boxes, scores = (x.astype(np.float32) for x in (detections.boxes, detections.scores))
            rows = self.embed(image, boxes) if len(boxes) else np.zeros((0, WIDTH), np.float32)
            return ImageDetections(boxes, scores, rows)
        distances = color_distances(image)
        boxes, rows = [], []
        for color in range(len(COLORS)):
            y, x = np.nonzero((distances[color] < 60) & (distances.argmin(axis=0) == color))
            if len(x) > 50:  # fewer pixels are noise of the compression
                boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
                rows.append(embed_color(color))
        return ImageDetections(
            boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
            scores=np.linspace(1, 0.9, len(boxes), dtype=np.float32),
            embeddings=np.array(rows, dtype=np.float32).reshape(-1, WIDTH),
        )


def color_distances(image):
    """Return the distance of each pixel from each color, (number of colors, H, W)."""
    offsets = image[None].astype(int) - np.array(COLORS)[:, None, None]
    return np.abs(offsets).sum(axis=-1)


def embed_color(color):
    """Return the embedding (WIDTH,) of a color."""
    row = np.full(WIDTH, 0.1)
    row[color] = 1
    return row / np.linalg.norm(row)
