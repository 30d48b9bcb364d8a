"""The shared records: detections, queries and ragged arrays."""

import numpy as np
import pytest

from clsa_search.structures import ImageDetections, Queries, Ragged


def make_detections(*scores, width=3):
    count = len(scores)
    boxes = np.arange(4 * count, dtype=np.float32).reshape(count, 4)
    embeddings = np.eye(count, width, dtype=np.float32)
    return ImageDetections(boxes, np.array(scores, np.float32), embeddings)


def test_detections_are_selected_by_mask_slice_and_position():
    detections = make_detections(0.9, 0.5, 0.7)
    confident = detections[detections.scores > 0.6]
    assert len(confident) == 2
    assert confident.scores.tolist() == pytest.approx([0.9, 0.7])
    assert confident.boxes.tolist() == [[0, 1, 2, 3], [8, 9, 10, 11]]
    assert detections[1:].embeddings.tolist() == [[0, 1, 0], [0, 0, 1]]
    assert detections[np.array([2, 0])].scores.tolist() == pytest.approx([0.7, 0.9])
    assert len(detections) == 3, "a selection is a new record"


def test_detections_are_joined_in_order():
    first, second = make_detections(0.9), make_detections(0.8, 0.7)
    joined = ImageDetections.concatenate([first, ImageDetections.empty(3), second])
    assert joined.scores.tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert joined.boxes.shape == (3, 4) and joined.embeddings.shape == (3, 3)


def test_no_detections_have_the_shapes_of_some():
    empty = ImageDetections.empty(5)
    assert len(empty) == 0
    assert (empty.boxes.shape, empty.scores.shape, empty.embeddings.shape) == ((0, 4), (0,), (0, 5))
    assert empty.boxes.dtype == empty.embeddings.dtype == np.float32


def test_queries_are_selected_together():
    queries = Queries(
        ids=np.array([4, 7]),
        boxes=np.zeros((2, 4), np.float32),
        embeddings=np.eye(2, dtype=np.float32),
        image_ids=np.array(["a", "b"]),
    )
    chosen = queries[queries.ids == 7]
    assert len(chosen) == 1 and chosen.image_ids.tolist() == ["b"]
    assert chosen.embeddings.tolist() == [[0, 1]]


RAGGED = Ragged(np.array([10, 11, 20, 30, 31, 32]), np.array([0, 2, 3, 3, 6]))
"""Rows [10, 11], [20], [] and [30, 31, 32]."""


def test_rows_of_a_ragged_array():
    assert len(RAGGED) == 4
    assert [RAGGED.row(i).tolist() for i in range(4)] == [[10, 11], [20], [], [30, 31, 32]]
    assert RAGGED.lengths.tolist() == [2, 1, 0, 3]
    assert RAGGED.owners.tolist() == [0, 0, 1, 3, 3, 3]


@pytest.mark.parametrize("rows", [[], [2], [3, 0], [1, 1, 2, 3]])
def test_selected_rows_equal_single_rows(rows):
    rows = np.array(rows, dtype=np.int64)
    chosen = RAGGED.select(rows)
    assert [chosen.row(i).tolist() for i in range(len(rows))] == [
        RAGGED.row(i).tolist() for i in rows
    ]
    owner, position = RAGGED.expand(rows)
    assert RAGGED.values[position].tolist() == chosen.values.tolist()
    assert owner.tolist() == chosen.owners.tolist()


def test_a_ragged_array_is_built_from_lengths():
    built = Ragged.from_lengths(RAGGED.values, RAGGED.lengths)
    assert built.offsets.tolist() == RAGGED.offsets.tolist()
    assert built.offsets.dtype == np.int64
    assert len(Ragged.from_lengths(np.empty(0), [])) == 0


def test_a_ragged_array_holds_records():
    detections = Ragged.from_lengths(make_detections(0.9, 0.8, 0.7), [1, 0, 2])
    assert isinstance(detections.row(2), ImageDetections)
    assert detections.row(2).scores.tolist() == pytest.approx([0.8, 0.7])
    assert detections.select(np.array([2, 1])).values.scores.tolist() == pytest.approx([0.8, 0.7])
    assert len(detections.row(1)) == 0
