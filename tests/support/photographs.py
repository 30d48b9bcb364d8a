"""A gallery of photographs of strangers, and of one person."""

import numpy as np

from clsa_search.gallery import GalleryImage, GalleryStore, IndexProgress
from clsa_search.structures import ImageDetections

WIDTH = 16
START = 1.7e9
BOXES = np.arange(4)[:, None] * 100.0 + np.array([0, 0, 50, 150])


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def add_photographs(store: GalleryStore, count: int, *, camera: str, seed: int = 0) -> None:
    """Add photographs of four different people each; two cameras take them at the same times."""
    rng = np.random.default_rng(seed)
    base = np.random.default_rng(9).standard_normal(WIDTH)
    images = []
    for i in range(count):
        people = ImageDetections(
            BOXES.astype(np.float32),
            np.full(4, 0.9, np.float32),
            unit(base + rng.standard_normal((4, WIDTH))),
        )
        images.append(GalleryImage(f"/{camera}/{i:04d}.jpg", people, None, START + i, camera))
    store.add(images, [IndexProgress(image.source, "1") for image in images])


def add_person(store: GalleryStore, embedding: np.ndarray, count: int, *, camera: str) -> list[int]:
    """Add photographs of one person; return the ids of the detections."""
    rng = np.random.default_rng(1)
    images = []
    for i in range(count):
        seen = unit(embedding + 0.1 * unit(rng.standard_normal((1, WIDTH))))
        person = ImageDetections(BOXES[:1].astype(np.float32), np.full(1, 0.9, np.float32), seen)
        images.append(GalleryImage(f"/person/{camera}{i}.jpg", person, None, START + i, camera))
    return store.add(images).tolist()
