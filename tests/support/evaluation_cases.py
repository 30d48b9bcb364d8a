"""Small predictions, records and protocols, made by hand or at random with all special cases."""

from dataclasses import replace

import numpy as np
from detectron2.structures import BoxMode

from clsa_search.evaluation import ImagePredictions, Predictions, SearchProtocol, TargetBoxes
from clsa_search.structures import ImageDetections, Queries, Ragged

WIDTH = 8  # of the random embeddings


def make_record(image_id, people=(), queries=()):
    """`people`: (box, person_id); `queries`: (query_id, box, person_id)."""
    record = {
        "file_name": f"{image_id}.jpg",
        "image_id": image_id,
        "height": 100,
        "width": 200,
        "annotations": [
            {
                "bbox": list(box),
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": 0,
                "person_id": person_id,
            }
            for box, person_id in people
        ],
    }
    if queries:
        record["queries"] = [
            {"query_id": query_id, "bbox": list(box), "person_id": person_id}
            for query_id, box, person_id in queries
        ]
    return record


def make_image(detections=(), queries=(), width=2):
    """`detections`: (box, score, embedding); `queries`: (query_id, box, embedding)."""
    ids, boxes, embeddings = zip(*queries, strict=True) if queries else ((), (), ())
    return ImagePredictions(
        detections=make_detections(detections, width),
        queries=Queries(
            ids=np.array(ids, dtype=np.int64),
            boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
            embeddings=np.array(embeddings, dtype=np.float32).reshape(-1, width),
            image_ids=np.full(len(ids), "set by Predictions.from_images"),
        ),
    )


def make_detections(detections=(), width=2):
    """`detections`: (box, score, embedding)."""
    boxes, scores, embeddings = zip(*detections, strict=True) if detections else ((), (), ())
    return ImageDetections(
        boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        scores=np.array(scores, dtype=np.float32),
        embeddings=np.array(embeddings, dtype=np.float32).reshape(-1, width),
    )


def replace_detections(predictions, **fields):
    """Return the predictions with other boxes, scores or embeddings of the detections."""
    values = replace(predictions.detections.values, **fields)
    return replace(predictions, detections=replace(predictions.detections, values=values))


def make_protocol(image_ids, queries):
    """`queries`: (query_id, positions of gallery images, [(position, target box)])."""
    galleries = [gallery for _, gallery, _ in queries]
    targets = [target for _, _, targets in queries for target in targets]
    return SearchProtocol(
        name="made",
        image_ids=np.array(image_ids, dtype=np.str_),
        query_ids=np.array([query_id for query_id, _, _ in queries], dtype=np.int64),
        galleries=Ragged.from_lengths(
            np.array([i for gallery in galleries for i in gallery], dtype=np.int32),
            [len(gallery) for gallery in galleries],
        ),
        targets=Ragged.from_lengths(
            TargetBoxes(
                images=np.array([image for image, _ in targets], dtype=np.int32),
                boxes=np.array([box for _, box in targets], dtype=np.float64).reshape(-1, 4),
            ),
            [len(targets) for _, _, targets in queries],
        ),
    )


def generate_embeddings(rng, count):
    """Unit rows, rounded to 1/1024: float32 products are exact in any order."""
    rows = rng.standard_normal((count, WIDTH))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return (np.round(rows * 1024) / 1024).astype(np.float32)


def generate_dataset(rng, images=12, identities=5, queries=6):
    """Return records and predictions: empty images, unlabeled, tiny and repeated people.

    Detections are shifted ground-truth boxes, some twice, and boxes without a person; embeddings
    come from a small pool, so that equal similarities are common.
    """
    pool = generate_embeddings(rng, 12)
    boxes = [generate_boxes(rng, rng.integers(0, 6) * rng.integers(0, 2)) for _ in range(images)]
    people = [
        [(box, int(rng.integers(-1, identities))) for box in image_boxes] for image_boxes in boxes
    ]
    given = [
        (q, int(rng.integers(images)), generate_boxes(rng, 1)[0], int(rng.integers(identities + 1)))
        for q in range(queries)
    ]
    records, outputs = [], {}
    for i in range(images):
        mine = [(q, box, person_id) for q, image, box, person_id in given if image == i]
        records.append(make_record(f"s{i}", people[i], mine))
        spots = np.concatenate([boxes[i], boxes[i][::2], generate_boxes(rng, rng.integers(0, 4))])
        spots[:, 2:] += rng.integers(-4, 5, spots[:, 2:].shape)
        outputs[f"s{i}"] = make_image(
            [(spot, rng.integers(2, 9) / 8, pool[rng.integers(len(pool))]) for spot in spots],
            [(q, box, pool[rng.integers(len(pool))]) for q, box, _ in mine],
            WIDTH,
        )
    return records, Predictions.from_images(outputs)


def generate_boxes(rng, count):
    corners = rng.integers(0, 60, (count, 2)).astype(float)
    return np.hstack([corners, corners + rng.integers(5, 40, (count, 2))])


def generate_protocol(rng, records, gallery_size=9):
    """Random gallery images with repetition for every query, its own image among them."""
    queries = []
    for record in records:
        for query in record.get("queries", []):
            gallery = rng.integers(0, len(records), rng.integers(0, gallery_size)).tolist()
            targets = [
                (image, person["bbox"])
                for image in sorted(set(gallery))
                for person in records[image]["annotations"]
                if person["person_id"] == query["person_id"]
            ]
            queries.append((query["query_id"], gallery, targets))
    return make_protocol([record["image_id"] for record in records], queries)
