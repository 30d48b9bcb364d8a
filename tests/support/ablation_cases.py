"""Predictions whose levels are known, for the ablation's tests."""

import numpy as np

from clsa_search.data import get_records
from clsa_search.evaluation import ImagePredictions, Predictions

LEVELS, WIDTH = ["res3", "res4", "res5"], 8


def describe_people(dataset, seed):
    """Predictions as a model makes them: annotated boxes found, each level differently noisy."""
    rng = np.random.default_rng(seed)
    people = rng.standard_normal((5, 3, WIDTH))

    def describe(person_ids):
        noise = rng.standard_normal((len(person_ids), 3, WIDTH)) * [[1.5], [1.0], [0.7]]
        rows = people[np.array(person_ids, dtype=int)] + noise
        rows /= np.linalg.norm(rows, axis=2, keepdims=True)
        return (rows / 3**0.5).reshape(-1, 3 * WIDTH).astype(np.float32)

    images = {}
    for record in get_records(str(dataset)):
        found, asked = record["annotations"], record.get("queries", [])
        images[record["image_id"]] = ImagePredictions(
            boxes=np.reshape([p["bbox"] for p in found], (-1, 4)).astype(np.float32),
            scores=rng.uniform(0.4, 1, len(found)).astype(np.float32),
            features=describe([p["person_id"] for p in found]),
            query_ids=np.array([q["query_id"] for q in asked], dtype=np.int64),
            query_boxes=np.reshape([q["bbox"] for q in asked], (-1, 4)).astype(np.float32),
            query_embeddings=describe([q["person_id"] for q in asked]),
        )
    return Predictions.from_images(images)
