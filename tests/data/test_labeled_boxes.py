"""Boxes with person ids, collected from records."""

import numpy as np

from clsa_search.data.labeled_boxes import LabeledBoxes
from clsa_search.structures import UNLABELED

RECORDS = [
    {
        "annotations": [
            {"bbox": [0, 0, 4, 5], "person_id": 3},
            {"bbox": [1.5, 0, 4, 5], "person_id": UNLABELED},
        ],
        "queries": [{"query_id": 1, "bbox": [0, 0, 4, 5], "person_id": 3}],
    },
    {"annotations": []},
    {
        "annotations": [{"bbox": [2, 2, 9, 9], "person_id": 3}],
        "queries": [{"query_id": 0, "bbox": [2, 2, 9, 9], "person_id": 3}],
    },
]


def test_annotations_keep_the_order_of_the_records():
    boxes = LabeledBoxes.from_annotations(RECORDS)
    assert len(boxes) == 3 and boxes.images.tolist() == [0, 0, 2]
    assert boxes.person_ids.tolist() == [3, UNLABELED, 3]
    assert boxes.boxes.tolist() == [[0, 0, 4, 5], [1.5, 0, 4, 5], [2, 2, 9, 9]]
    assert boxes[boxes.images == 2].boxes.tolist() == [[2, 2, 9, 9]]


def test_queries_are_ordered_by_id():
    assert LabeledBoxes.from_queries(RECORDS).images.tolist() == [2, 0]


def test_no_boxes_are_ordinary():
    boxes = LabeledBoxes.from_annotations([{"annotations": []}])
    assert boxes.boxes.shape == (0, 4) and boxes.boxes.dtype == np.float64
    assert boxes.images.dtype == boxes.person_ids.dtype == np.int64
