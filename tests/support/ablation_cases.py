"""Predictions with known levels, for the tests of the ablation."""

import numpy as np

from clsa_search.data import get_records
from clsa_search.evaluation import ImagePredictions, Predictions
from clsa_search.structures import ImageDetections, Queries

LEVELS, WIDTH = ["res3", "res4", "res5"], 8


def make_predictions(dataset, seed):
    """Predictions as of a model: every ground-truth box is detected, each level has its own noise.

    The ground truth holds the same boxes with embeddings of their own.
    """
    rng = np.random.default_rng(seed)
    identities = rng.standard_normal((5, 3, WIDTH))

    def embed(people):
        person_ids = np.array([one["person_id"] for one in people], dtype=int)
        noise = rng.standard_normal((len(people), 3, WIDTH)) * [[1.5], [1.0], [0.7]]
        rows = identities[person_ids] + noise
        rows /= np.linalg.norm(rows, axis=2, keepdims=True)
        return (rows / 3**0.5).reshape(-1, 3 * WIDTH).astype(np.float32)

    images = {}
    for record in get_records(str(dataset)):
        annotations, queries = record["annotations"], record.get("queries", [])
        boxes = to_boxes(annotations)
        scores = rng.uniform(0.4, 1, len(annotations)).astype(np.float32)
        images[str(record["image_id"])] = ImagePredictions(
            detections=ImageDetections(boxes, scores, embed(annotations)),
            queries=Queries(
                ids=np.array([query["query_id"] for query in queries], dtype=np.int64),
                boxes=to_boxes(queries),
                embeddings=embed(queries),
                image_ids=np.full(len(queries), str(record["image_id"])),
            ),
            ground_truth=ImageDetections(boxes, np.ones_like(scores), embed(annotations)),
        )
    return Predictions.from_images(images)


def to_boxes(people):
    return np.reshape([one["bbox"] for one in people], (-1, 4)).astype(np.float32)
