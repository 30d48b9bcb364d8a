"""Predictions: joining, aligning, files, and checks of malformed or foreign files."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from clsa_search.errors import InputError
from clsa_search.evaluation import (
    Predictions,
    check_predictions,
    load_predictions,
    save_predictions,
)
from tests.support.evaluation_cases import (
    generate_dataset,
    make_detections,
    make_image,
    make_record,
    replace_detections,
)

BOX, OTHER = (0, 0, 40, 80), (10, 20, 30, 60)
IMAGES = {
    "b": make_image([(BOX, 0.9, (1, 0)), (OTHER, 0.4, (0, 1))], [(1, BOX, (0.6, 0.8))]),
    "a": make_image([(OTHER, 0.7, (0.8, 0.6))], [(2, BOX, (1, 0)), (0, OTHER, (0, 1))]),
    "c": make_image(),
}
RECORDS = [
    make_record("b", queries=[(1, BOX, 0)]),
    make_record("a", queries=[(2, BOX, 1), (0, OTHER, 2)]),
    make_record("c"),
]


ASCENDING = "expected ascending numbers from 0 to 3, the length of 'scores'"
GROUND_TRUTH = {"a": [OTHER, BOX], "b": [BOX], "c": []}


def with_ground_truth(images, boxes=GROUND_TRUTH):
    """Add ground-truth boxes to the images, all with the same embedding."""
    return {
        name: replace(
            image, ground_truth=make_detections([(box, 1, (1, 0)) for box in boxes[name]])
        )
        for name, image in images.items()
    }


def to_arrays(predictions):
    """Return {field of the file: array}, without meta and version."""
    detections, queries = predictions.detections, predictions.queries
    arrays = {
        "image_ids": predictions.image_ids,
        "offsets": detections.offsets,
        **vars(detections.values),
        **{f"query_{name}": array for name, array in vars(queries).items()},
    }
    if predictions.ground_truth is not None:
        truth = predictions.ground_truth
        arrays |= {"gt_offsets": truth.offsets, "gt_boxes": truth.values.boxes}
        arrays["gt_embeddings"] = truth.values.embeddings
    return arrays


@pytest.fixture
def predictions():
    return Predictions.from_images(IMAGES, {"dataset": "made", "config": None})


def assert_equal(one, other):
    np.testing.assert_equal(asdict(one), asdict(other))


def test_images_are_joined_in_order(predictions):
    assert predictions.image_ids.tolist() == ["a", "b", "c"]
    detections, queries = predictions.detections, predictions.queries
    assert detections.offsets.tolist() == [0, 1, 3, 3]
    assert detections.values.boxes.tolist() == [list(OTHER), list(BOX), list(OTHER)]
    np.testing.assert_array_equal(detections.values.scores, np.float32([0.7, 0.9, 0.4]))
    assert queries.ids.tolist() == [0, 1, 2]
    assert queries.image_ids.tolist() == ["a", "b", "a"]
    np.testing.assert_array_equal(queries.embeddings, np.float32([(0, 1), (0.6, 0.8), (1, 0)]))
    assert predictions.ground_truth is None
    assert_equal(
        predictions, Predictions.from_images(dict(sorted(IMAGES.items())), predictions.meta)
    )


def test_align_selects_and_orders(predictions):
    aligned = predictions.align(np.array(["c", "b"]), np.array([2, 0]), score_threshold=0.5)
    assert aligned.image_ids.tolist() == ["c", "b"]
    assert aligned.detections.offsets.tolist() == [0, 0, 1]
    assert aligned.detections.values.boxes.tolist() == [list(BOX)]
    assert aligned.queries.ids.tolist() == [2, 0]
    assert aligned.queries.image_ids.tolist() == ["a", "a"]
    assert aligned.queries.boxes.tolist() == [list(BOX), list(OTHER)]


@pytest.mark.parametrize(
    "images",
    [IMAGES, with_ground_truth(IMAGES), {"a": make_image()}, {}],
    ids=["full", "with ground truth", "no detections", "no images"],
)
def test_a_file_round_trip_changes_nothing(images, tmp_path):
    predictions = Predictions.from_images(images, {"dataset": "made", "date": "ä"})
    save_predictions(predictions, tmp_path / "deep" / "predictions.npz")
    loaded = load_predictions(tmp_path / "deep" / "predictions.npz")
    assert_equal(loaded, predictions)
    for (name, saved), kept in zip(
        to_arrays(predictions).items(), to_arrays(loaded).values(), strict=True
    ):
        assert kept.dtype == saved.dtype, name
    save_predictions(loaded, tmp_path / "again.npz")
    one, other = tmp_path / "deep" / "predictions.npz", tmp_path / "again.npz"
    assert one.read_bytes() == other.read_bytes()


def test_file_has_the_documented_fields(predictions, tmp_path):
    save_predictions(predictions, tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz", allow_pickle=False) as file:
        assert {name: (file[name].dtype.kind, file[name].shape) for name in file} == {
            "version": ("i", ()),
            "image_ids": ("U", (3,)),
            "offsets": ("i", (4,)),
            "boxes": ("f", (3, 4)),
            "scores": ("f", (3,)),
            "embeddings": ("f", (3, 2)),
            "query_ids": ("i", (3,)),
            "query_embeddings": ("f", (3, 2)),
            "query_boxes": ("f", (3, 4)),
            "query_image_ids": ("U", (3,)),
            "meta": ("U", ()),
        }
        assert file["version"] == 2
        assert json.loads(str(file["meta"])) == predictions.meta


def test_interrupted_write_leaves_the_old_file(predictions, tmp_path, monkeypatch):
    save_predictions(predictions, tmp_path / "p.npz")

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        save_predictions(Predictions.from_images({}), tmp_path / "p.npz")
    assert [file.name for file in tmp_path.iterdir()] == ["p.npz"]
    assert_equal(load_predictions(tmp_path / "p.npz"), predictions)


def test_malformed_predictions_are_not_saved(predictions, tmp_path):
    with pytest.raises(InputError, match="'scores' is nan in row 1; expected finite numbers"):
        save_predictions(
            replace_detections(predictions, scores=np.float32([0.5, np.nan, 0.5])),
            tmp_path / "p.npz",
        )
    assert list(tmp_path.iterdir()) == []


def write(path, predictions, **changes):
    """Write a file as another tool might; None leaves a field out."""
    entries = to_arrays(predictions)
    entries |= {"version": 2, "meta": json.dumps(predictions.meta)} | changes
    np.savez(path, **{name: value for name, value in entries.items() if value is not None})


def test_other_types_are_converted(predictions, tmp_path):
    write(
        tmp_path / "p.npz",
        predictions,
        boxes=predictions.detections.values.boxes.astype(np.int16),
        embeddings=predictions.detections.values.embeddings.astype(np.float64),
        offsets=predictions.detections.offsets.astype(np.uint8),
    )
    assert_equal(load_predictions(tmp_path / "p.npz"), predictions)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 1}, "'version' is 1; expected 2"),
        ({"version": 1, "embeddings": None}, "'version' is 1; expected 2"),
        ({"version": "2"}, "'version' is '2'; expected 2"),
        ({"version": None}, "'version' is missing; expected an array"),
        ({"scores": None}, "'scores' is missing; expected an array"),
        ({"meta": None}, "'meta' is missing; expected an array"),
        ({"meta": "{"}, "'meta' is '{'; expected a JSON object"),
        ({"meta": "[1]"}, "'meta' is '[1]'; expected a JSON object"),
        ({"image_ids": [1, 2, 3]}, "'image_ids' has dtype int64; expected str"),
        ({"query_ids": [0.0, 1.0, 2.0]}, "'query_ids' has dtype float64; expected int64"),
        ({"boxes": np.zeros((3, 5))}, "'boxes' has shape (3, 5); expected (M = 3, XYXY = 4)"),
        ({"boxes": np.zeros((2, 4))}, "'boxes' has shape (2, 4); expected (M = 3, XYXY = 4)"),
        ({"offsets": [0, 1, 3]}, "'offsets' has shape (3,); expected (N+1 = 4)"),
        ({"embeddings": np.ones(3)}, "'embeddings' has shape (3,); expected (M = 3, D = any)"),
        (
            {"query_embeddings": np.ones((3, 1))},
            "'query_embeddings' has shape (3, 1); expected (Q = 3, D = 2)",
        ),
        ({"scores": np.float32(0.5)}, "'scores' has shape (); expected (M = any)"),
        (
            {"offsets": [0, 1, 3, 4]},
            "'offsets' is [0 1 3 4]; expected ascending numbers from 0 to 3",
        ),
        (
            {"offsets": [0, 4, 3, 3]},
            "'offsets' is [0 4 3 3]; expected ascending numbers from 0 to 3",
        ),
        (
            {"offsets": [1, 1, 3, 3]},
            "'offsets' is [1 1 3 3]; expected ascending numbers from 0 to 3",
        ),
        ({"scores": [0.5, np.nan, 0.5]}, "'scores' is nan in row 1; expected finite numbers"),
        ({"scores": [0.5, 0.5, np.inf]}, "'scores' is inf in row 2; expected finite numbers"),
        (
            {"embeddings": [(1, 0), (np.nan, 0), (0, 1)]},
            "'embeddings' is [nan  0.] in row 1; expected finite numbers",
        ),
        (
            {"embeddings": [(1, 0), (0, 1), (1, 1)]},
            "'embeddings' is [1. 1.] in row 2; expected a row of unit length",
        ),
        (
            {"query_embeddings": [(1, 0), (0, 0), (0, 1)]},
            "'query_embeddings' is [0. 0.] in row 1; expected a row of unit length",
        ),
        (
            {"boxes": [BOX, (40, 0, 0, 80), BOX]},
            "'boxes' is [40.  0.  0. 80.] in row 1; expected x0 <= x1 and y0 <= y1",
        ),
        ({"image_ids": ["a", "b", "a"]}, "'image_ids' is 'a' in row 2; expected a unique id"),
        ({"query_ids": [3, 3, 4]}, "'query_ids' is 3 in row 1; expected a unique id"),
    ],
)
def test_malformed_files_are_refused(predictions, tmp_path, changes, message):
    path = tmp_path / "p.npz"
    write(path, predictions, **changes)
    with pytest.raises(InputError) as error:
        load_predictions(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_other_files_are_refused(predictions, tmp_path):
    path = tmp_path / "p.npz"
    with pytest.raises(InputError, match="p.npz: cannot be read: No such file"):
        load_predictions(path)
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        load_predictions(tmp_path)
    save_predictions(predictions, path)
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[whole.index(predictions.detections.values.embeddings.tobytes())] ^= 255
    contents = [b"", b"text", whole[:500], whole[:-30], damaged]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(InputError, match="p.npz: not a readable .npz archive: ."):
            load_predictions(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InputError, match="p.npz: not a readable .npz archive: ."):
        load_predictions(path)
    write(path, predictions, scores=np.array([0.5, "x", None], dtype=object))
    with pytest.raises(InputError, match="p.npz: not a readable .npz archive: ."):
        load_predictions(path)


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
