"""Predictions: built in any order, kept in a file, refused when malformed or of another dataset."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from clsa_search.errors import InputError
from clsa_search.evaluation import (
    Predictions,
    check_annotated,
    check_predictions,
    load_predictions,
    save_predictions,
)
from tests.support.evaluation_cases import draw_dataset, make_image, make_record

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


@pytest.fixture
def predictions():
    return Predictions.from_images(IMAGES, {"dataset": "made", "config": None})


def assert_equal(one, other):
    for field in fields(Predictions):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_images_are_joined_in_order(predictions):
    assert predictions.image_ids.tolist() == ["a", "b", "c"]
    assert predictions.offsets.tolist() == [0, 1, 3, 3]
    assert predictions.boxes.tolist() == [list(OTHER), list(BOX), list(OTHER)]
    np.testing.assert_array_equal(predictions.scores, np.float32([0.7, 0.9, 0.4]))
    assert predictions.query_ids.tolist() == [0, 1, 2]
    assert predictions.query_image_ids.tolist() == ["a", "b", "a"]
    np.testing.assert_array_equal(
        predictions.query_embeddings, np.float32([(0, 1), (0.6, 0.8), (1, 0)])
    )
    assert_equal(
        predictions, Predictions.from_images(dict(sorted(IMAGES.items())), predictions.meta)
    )


def test_align_selects_and_orders(predictions):
    aligned = predictions.align(np.array(["c", "b"]), np.array([2, 0]), score_threshold=0.5)
    assert aligned.image_ids.tolist() == ["c", "b"]
    assert aligned.offsets.tolist() == [0, 0, 1]
    assert aligned.boxes.tolist() == [list(BOX)]
    assert aligned.query_ids.tolist() == [2, 0]
    assert aligned.query_image_ids.tolist() == ["a", "a"]
    assert aligned.query_boxes.tolist() == [list(BOX), list(OTHER)]


@pytest.mark.parametrize(
    "images", [IMAGES, {"a": make_image()}, {}], ids=["full", "nothing found", "no images"]
)
def test_file_gives_back_what_was_saved(images, tmp_path):
    predictions = Predictions.from_images(images, {"dataset": "made", "date": "ä"})
    save_predictions(predictions, tmp_path / "deep" / "predictions.npz")
    loaded = load_predictions(tmp_path / "deep" / "predictions.npz")
    assert_equal(loaded, predictions)
    for field in fields(Predictions)[:-1]:
        saved, kept = getattr(predictions, field.name), getattr(loaded, field.name)
        assert kept.dtype == saved.dtype
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
            "features": ("f", (3, 2)),
            "query_ids": ("i", (3,)),
            "query_embeddings": ("f", (3, 2)),
            "query_boxes": ("f", (3, 4)),
            "query_image_ids": ("U", (3,)),
            "meta": ("U", ()),
        }
        assert file["version"] == 1
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
            replace(predictions, scores=np.float32([0.5, np.nan, 0.5])), tmp_path / "p.npz"
        )
    assert list(tmp_path.iterdir()) == []


def write(path, predictions, **changes):
    """A file as another tool might write it; a change to None leaves the field out."""
    entries = {field.name: getattr(predictions, field.name) for field in fields(Predictions)}
    entries |= {"version": 1, "meta": json.dumps(predictions.meta)} | changes
    np.savez(path, **{name: value for name, value in entries.items() if value is not None})


def test_wider_types_are_welcome(predictions, tmp_path):
    write(
        tmp_path / "p.npz",
        predictions,
        boxes=predictions.boxes.astype(np.int16),
        features=predictions.features.astype(np.float64),
        offsets=predictions.offsets.astype(np.uint8),
    )
    assert_equal(load_predictions(tmp_path / "p.npz"), predictions)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "'version' is 2; expected 1"),
        ({"version": "1"}, "'version' is '1'; expected 1"),
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
        ({"features": np.ones(3)}, "'features' has shape (3,); expected (M = 3, D = any)"),
        (
            {"query_embeddings": np.ones((3, 1))},
            "'query_embeddings' has shape (3, 1); expected (Q = 3, D = 2)",
        ),
        ({"scores": np.float32(0.5)}, "'scores' has shape (); expected (M = any)"),
        ({"offsets": [0, 1, 3, 4]}, "'offsets' is [0 1 3 4]; expected a rise from 0 to 3"),
        ({"offsets": [0, 4, 3, 3]}, "'offsets' is [0 4 3 3]; expected a rise from 0 to 3"),
        ({"offsets": [1, 1, 3, 3]}, "'offsets' is [1 1 3 3]; expected a rise from 0 to 3"),
        ({"scores": [0.5, np.nan, 0.5]}, "'scores' is nan in row 1; expected finite numbers"),
        ({"scores": [0.5, 0.5, np.inf]}, "'scores' is inf in row 2; expected finite numbers"),
        (
            {"features": [(1, 0), (np.nan, 0), (0, 1)]},
            "'features' is [nan  0.] in row 1; expected finite numbers",
        ),
        (
            {"features": [(1, 0), (0, 1), (1, 1)]},
            "'features' is [1. 1.] in row 2; expected a row of unit length",
        ),
        (
            {"query_embeddings": [(1, 0), (0, 0), (0, 1)]},
            "'query_embeddings' is [0. 0.] in row 1; expected a row of unit length",
        ),
        (
            {"boxes": [BOX, (40, 0, 0, 80), BOX]},
            "'boxes' is [40.  0.  0. 80.] in row 1; expected x0 <= x1 and y0 <= y1",
        ),
        ({"image_ids": ["a", "b", "a"]}, "'image_ids' is 'a' in row 2; expected an id"),
        ({"query_ids": [3, 3, 4]}, "'query_ids' is 3 in row 1; expected an id"),
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
    damaged[whole.index(predictions.features.tobytes())] ^= 255
    contents = [b"", b"text", whole[:500], whole[:-30], damaged]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(InputError, match="p.npz: not a predictions file; expected an .npz"):
            load_predictions(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InputError, match="not a predictions file"):
        load_predictions(path)
    write(path, predictions, scores=np.array([0.5, "x", None], dtype=object))
    with pytest.raises(InputError, match="not a predictions file"):
        load_predictions(path)


def test_annotated_boxes_are_recognized(predictions):
    """Each of them and no other, but for rounding."""
    records = [
        make_record("b", [(OTHER, -1), ((0, 0.5, 40, 79.5), 0)]),
        make_record("a", [(OTHER, 3)]),
        make_record("c"),
    ]
    check_annotated(predictions, records)
    for people, message in (
        ([], r"boxes: \[10.0, 20.0, 30.0, 60.0\] is nobody's on image 'a'; expected the annotated"),
        ([(OTHER, 3), (BOX, 0)], r"boxes: lack \[0.0, 0.0, 40.0, 80.0\] on image 'a'; expected"),
    ):
        wrong = [records[0], make_record("a", people), records[2]]
        with pytest.raises(InputError, match=f"gt.npz: {message}"):
            check_annotated(predictions, wrong, "gt.npz")


def test_predictions_of_the_dataset_pass(predictions):
    check_predictions(predictions, RECORDS)
    records, drawn = draw_dataset(np.random.default_rng(0))
    check_predictions(drawn, records[::-1])


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
