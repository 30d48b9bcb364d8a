"""Predictions: joining, aligning, files, and checks of malformed or foreign files."""

import json

import numpy as np
import pytest

from clsa_search.errors import InputError
from clsa_search.evaluation import (
    Predictions,
    load_predictions,
    save_predictions,
)
from tests.support.evaluation_cases import (
    make_image,
    replace_detections,
)
from tests.support.prediction_cases import (
    BOX,
    IMAGES,
    OTHER,
    assert_equal,
    to_arrays,
    with_ground_truth,
    write,
)

ASCENDING = "expected ascending numbers from 0 to 3, the length of 'scores'"


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
