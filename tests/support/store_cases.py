"""Galleries for the tests of the store, and a brute-force search to compare with."""

import numpy as np

from clsa_search.gallery import GalleryImage, open_store
from clsa_search.structures import ImageDetections

WEIGHTS = "a" * 64


def new_store(address, **options):
    """Open a store for adding; create it if it is missing."""
    return open_store(address, weights=WEIGHTS, create=True, **options)


def make_embeddings(count, width=16, seed=0):
    """Generate unit rows of two values: products are exact in any order, and ties are frequent."""
    signs = np.random.default_rng(seed).choice([-1, 1], (count, width))
    return (signs / np.sqrt(width)).astype(np.float32)  # of 16, 64, ...: powers of two


def make_image(embeddings, source="a.jpg", **fields):
    """Return an image with a box and a score from 0.5 to 1 for each embedding."""
    count = len(embeddings)
    corners = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    scores = np.linspace(0.5, 1, count, dtype=np.float32)
    boxes = np.hstack([corners, corners + 10])
    return GalleryImage(source, ImageDetections(boxes, scores, embeddings), **fields)


def make_images(count=60, seed=0, width=16):
    """Generate frames of three videos, and images, with 1 to 5 detections each."""
    rng = np.random.default_rng(seed)
    images = []
    for i in range(count):
        embeddings = make_embeddings(rng.integers(1, 6), width, seed=1000 * seed + i)
        video = i % 4
        if video == 3:
            images.append(make_image(embeddings, f"photo_{i}.jpg", camera="phone"))
        else:
            fields = {"frame": i, "time": i / 2, "camera": [None, "door", "yard"][video]}
            images.append(make_image(embeddings, f"video_{video}.mp4", **fields))
    return images


def search_by_sorting(detections, queries, k, passes=lambda detection: True, per="match"):
    """Return (id, similarity) of the best detections of each query, by sorting all of them."""
    chosen = [detection for detection in detections if passes(detection)]
    images = {one.detection_id: (one.source, one.frame) for one in chosen}
    results = []
    for query in queries:
        scored = [(-float(np.dot(query, one.embedding)), one.detection_id) for one in chosen]
        best, seen = [], set()
        for negative, detection_id in sorted(scored):
            if per == "image" and images[detection_id] in seen:
                continue
            seen.add(images[detection_id])
            best.append((detection_id, -negative))
        results.append(best[:k])
    return results


def limit_disk(store, pages=None):
    """Keep the file of a store from growing, or let it grow to a number of pages."""
    connection = store._tables.connection
    pages = pages or connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
