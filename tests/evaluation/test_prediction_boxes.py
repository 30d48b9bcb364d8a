"""Ground-truth boxes of predictions, and predictions that belong to another dataset."""

import numpy as np
import pytest

from clsa_search.errors import InputError
from clsa_search.evaluation import (
    Predictions,
    check_predictions,
    load_predictions,
)
from tests.support.evaluation_cases import (
    generate_dataset,
    make_image,
    make_record,
)
from tests.support.prediction_cases import (
    BOX,
    GROUND_TRUTH,
    IMAGES,
    OTHER,
    RECORDS,
    assert_equal,
    with_ground_truth,
    write,
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gt_boxes": None}, "'gt_boxes' is missing; expected an array"),
        ({"gt_offsets": [0, 2, 4, 4]}, "'gt_offsets' is [0 2 4 4]; expected ascending numbers"),
        ({"gt_offsets": [0, 3]}, "'gt_offsets' has shape (2,); expected (N+1 = 4)"),
        (
            {"gt_embeddings": np.eye(3)},
            "'gt_embeddings' has shape (3, 3); expected (G = 3, D = 2)",
        ),
        (
            {"gt_embeddings": [(1, 0), (1, 1), (1, 0)]},
            "'gt_embeddings' is [1. 1.] in row 1; expected a row of unit length",
        ),
    ],
)
def test_malformed_ground_truth_is_refused(tmp_path, changes, message):
    path = tmp_path / "p.npz"
    write(path, Predictions.from_images(with_ground_truth(IMAGES)), **changes)
    with pytest.raises(InputError) as error:
        load_predictions(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_ground_truth_replaces_detections():
    predictions = Predictions.from_images(with_ground_truth(IMAGES))
    upper = predictions.use_ground_truth()
    for row, (name, boxes) in enumerate(sorted(GROUND_TRUTH.items())):
        assert upper.image_ids[row] == name
        assert upper.detections.row(row).boxes.tolist() == [list(box) for box in boxes]
    assert upper.detections.values.scores.tolist() == [1, 1, 1]
    assert upper.queries is predictions.queries and upper.ground_truth is None
    with pytest.raises(InputError, match="no ground truth; expected gt_boxes and gt_embeddings"):
        upper.use_ground_truth()


def test_single_images_join_to_the_same_predictions(predictions):
    assert_equal(Predictions.from_images(predictions.to_images(), predictions.meta), predictions)
    full = Predictions.from_images(with_ground_truth(IMAGES))
    assert_equal(Predictions.from_images(full.to_images()), full)


def test_ground_truth_has_to_be_the_annotations():
    """Each of them and no other box, up to rounding."""
    predictions = Predictions.from_images(with_ground_truth(IMAGES))
    queries = [record.get("queries", []) for record in RECORDS]
    people = [[((0, 0.5, 40, 79.5), 0)], [(OTHER, 3), (BOX, -1)], []]
    records = [
        make_record(record["image_id"], boxes) | ({"queries": given} if given else {})
        for record, boxes, given in zip(RECORDS, people, queries, strict=True)
    ]
    check_predictions(predictions, records)
    for boxes, message in (
        ([(OTHER, 3)], r"gt_boxes: \[0.0, 0.0, 40.0, 80.0\] is no annotation on image 'a'; expect"),
        (
            [(OTHER, 3), (BOX, 0), ((50, 0, 60, 9), 1)],
            r"gt_boxes: \[50.0, 0.0, 60.0, 9.0\] is missing on image 'a'; expected the",
        ),
    ):
        wrong = [
            records[0],
            make_record("a", boxes) | {"queries": queries[1]},
            records[2],
        ]
        with pytest.raises(InputError, match=f"gt.npz: {message}"):
            check_predictions(predictions, wrong, "gt.npz")


def test_predictions_of_the_dataset_are_accepted(predictions):
    check_predictions(predictions, RECORDS)
    records, generated = generate_dataset(np.random.default_rng(0))
    check_predictions(generated, records[::-1])


def test_boxes_that_leave_their_image_are_compared_inside_it():
    """59 test boxes of PRW leave the frame by up to 8 pixels; predictions may hold them so."""
    given = {"a": make_image([], [(0, (-8, 20, 30, 107), (1, 0))]), "b": make_image()}
    given = with_ground_truth(given, {"a": [(-8, 20, 30, 107)], "b": []})
    predictions = Predictions.from_images(given)
    records = [
        make_record("a", [((0, 20, 30, 100), 0)], [(0, (0, 20, 30, 100), 0)]),
        make_record("b"),
    ]
    check_predictions(predictions, records)
    records[0]["queries"][0]["bbox"] = [0, 20, 30, 90]  # inside, and not where it is predicted
    with pytest.raises(InputError, match=r"query 0 is at \[-8.0, 20.0, 30.0, 107.0\]; expected"):
        check_predictions(predictions, records)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (
            [*RECORDS, make_record("d"), make_record("e")],
            "image_ids: 2 missing, such as 'd'; expected the dataset's 5, all of them and no other",
        ),
        (RECORDS[:2], "image_ids: 1 unknown, such as 'c'; expected the dataset's 2, all"),
        (
            [*RECORDS[:2], make_record("c", queries=[(3, BOX, 0)])],
            "query_ids: 1 missing, such as 3; expected the dataset's 4, all",
        ),
        (
            [RECORDS[0], make_record("a", queries=[(0, OTHER, 2)]), RECORDS[2]],
            "query_ids: 1 unknown, such as 2; expected the dataset's 2, all",
        ),
        (
            [make_record("b", queries=[(1, BOX, 0), (2, BOX, 0)]), *RECORDS[2:]]
            + [make_record("a", queries=[(0, OTHER, 2)])],
            "query_image_ids: query 2 is on image 'a'; expected 'b', as in the dataset",
        ),
        (
            [RECORDS[0], make_record("a", queries=[(2, (0, 0, 40, 78), 1), (0, OTHER, 2)])]
            + RECORDS[2:],
            "query_boxes: query 2 is at [0.0, 0.0, 40.0, 80.0]; expected [0.0, 0.0, 40.0, 78.0]",
        ),
    ],
)
def test_predictions_of_another_dataset_are_refused(predictions, records, message):
    with pytest.raises(InputError) as error:
        check_predictions(predictions, records, "p.npz")
    assert str(error.value).startswith(f"p.npz: {message}")
