"""Galleries for the tests of the store, and a literal search to compare with."""

import numpy as np

from clsa_search.gallery import GalleryImage, open_store
from clsa_search.structures import ImageDetections

WEIGHTS = "a" * 64


def new_store(address, **options):
    return open_store(address, weights=WEIGHTS, create=True, **options)


def draw_rows(count, width=16, seed=0):
    """Unit rows of a few values only: products are exact in any order, and many are equal."""
    signs = np.random.default_rng(seed).choice([-1, 1], (count, width))
    return (signs / np.sqrt(width)).astype(np.float32)  # of 16, 64, ...: powers of two


def make_scene(embeddings, source="a.jpg", **labels):
    count = len(embeddings)
    corners = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    scores = np.linspace(0.5, 1, count, dtype=np.float32)
    boxes = np.hstack([corners, corners + 10])
    return GalleryImage(source, ImageDetections(boxes, scores, embeddings), **labels)


def draw_scenes(count=60, seed=0, width=16):
    """Frames of three videos and photographs, of 1 to 5 people each."""
    rng = np.random.default_rng(seed)
    scenes = []
    for i in range(count):
        rows = draw_rows(rng.integers(1, 6), width, seed=1000 * seed + i)
        video = i % 4
        if video == 3:
            scenes.append(make_scene(rows, f"photo_{i}.jpg", camera="phone"))
        else:
            labels = {"frame": i, "time": i / 2, "camera": [None, "door", "yard"][video]}
            scenes.append(make_scene(rows, f"video_{video}.mp4", **labels))
    return scenes


def search_literally(entries, queries, k, passes=lambda entry: True, per="match"):
    """Row ids and similarities of each query, by sorting all entries that pass."""
    chosen = [entry for entry in entries if passes(entry)]
    answers = []
    for query in queries:
        scored = [(-float(np.dot(query, entry.embedding)), entry.detection_id) for entry in chosen]
        images = {entry.detection_id: (entry.source, entry.frame) for entry in chosen}
        answer, seen = [], set()
        for negative, detection_id in sorted(scored):
            if per == "image" and images[detection_id] in seen:
                continue
            seen.add(images[detection_id])
            answer.append((detection_id, -negative))
        answers.append(answer[:k])
    return answers
