"""The model on arrays: as in evaluation, whatever is computed together; and what it refuses."""

import logging

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from clsa_search.data import get_records
from clsa_search.data.image_io import read_image
from clsa_search.engine import load_trained_model, predict
from clsa_search.errors import InputError
from clsa_search.evaluation import load_predictions
from clsa_search.retrieval.gallery_search import average_embeddings
from clsa_search.retrieval.predictor import PersonSearchPredictor


@pytest.fixture(scope="module")
def pictures(tiny_data):
    return [read_image(r["file_name"]) for r in get_records(str(tiny_data / "gallery.json"))]


@pytest.fixture
def weights(tiny_cfg, tmp_path):
    """A checkpoint with its config beside it, as training leaves them."""
    torch.manual_seed(0)
    torch.save({"model": build_model(tiny_cfg).state_dict()}, tmp_path / "model_final.pth")
    (tmp_path / "config.yaml").write_text(tiny_cfg.dump())
    return tmp_path / "model_final.pth"


@pytest.fixture
def predictor(weights):
    return PersonSearchPredictor.load(weights, min_score=0.0)


def arrays_of(detections):
    return detections.boxes, detections.scores, detections.embeddings


def test_arrays_give_what_evaluation_finds_in_the_files(predictor, weights, tiny_data, tiny_cfg):
    gallery = str(tiny_data / "gallery.json")
    tiny_cfg.MODEL.WEIGHTS = str(weights)
    predict(tiny_cfg, gallery, str(weights.parent / "eval"))
    predictions = load_predictions(weights.parent / "eval" / "predictions.npz")
    records = get_records(gallery)
    pictures = [read_image(record["file_name"]) for record in records]
    found = predictor.detect(pictures)
    for record, people in zip(records, found, strict=True):
        row = predictions.image_ids.tolist().index(record["image_id"])
        detections = predictions.detections.row(row)
        assert len(people.scores) > 0
        np.testing.assert_allclose(people.boxes, detections.boxes, atol=1e-3)
        np.testing.assert_allclose(people.embeddings, detections.embeddings, atol=1e-5)
        for query in record.get("queries", []):
            given = predictor.embed(read_image(record["file_name"]), [query["bbox"]])
            index = predictions.queries.ids.tolist().index(query["query_id"])
            expected = predictions.queries.embeddings[index]
            np.testing.assert_allclose(given[0], expected, atol=1e-5)


def test_what_is_computed_together_changes_nothing(predictor, pictures):
    mixed = [pictures[0], pictures[1], pictures[2][:50], pictures[3], pictures[4]]
    together = predictor.detect(mixed)
    for picture, people in zip(mixed, together, strict=True):
        (alone,) = predictor.detect([picture])
        for one, other in zip(arrays_of(people), arrays_of(alone), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-3)
    assert predictor.detect([]) == []


def test_prepared_pictures_are_taken_as_the_pictures_are(predictor, pictures):
    mixed = [pictures[0], predictor.prepare(pictures[1]), predictor.prepare(pictures[2][:50])]
    for people, expected in zip(
        predictor.detect(mixed), predictor.detect([*pictures[:2], pictures[2][:50]]), strict=True
    ):
        assert len(people.scores) > 0
        for one, other in zip(arrays_of(people), arrays_of(expected), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_detection_is_described_as_its_box_is(predictor, pictures):
    (people,) = predictor.detect(pictures[:1])
    described = predictor.embed(pictures[0], people.boxes)
    np.testing.assert_allclose(described, people.embeddings, atol=1e-5)


def test_boxes_are_cut_at_the_border(predictor, pictures):
    beyond, cut = predictor.embed(pictures[0], [[-50, 10, 40, 500], [0, 10, 40, 72]])
    assert (beyond == cut).all()


@pytest.mark.parametrize(
    "box", [[96, 0, 120, 40], [30, 20, 30.5, 60], [40, 50, 20, 60], [0, 0, float("nan"), 9], [1, 2]]
)
def test_boxes_outside_the_picture_are_refused(predictor, pictures, box):
    with pytest.raises(InputError, match="box: .*expected"):
        predictor.embed(pictures[0], [box])
    with pytest.raises(InputError, match="box: none; expected"):
        predictor.embed(pictures[0], [])


@pytest.mark.parametrize(
    "array", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3))]
)
def test_arrays_that_are_no_rgb_pictures_are_refused(predictor, array):
    with pytest.raises(InputError, match=r"expected \(H, W, 3\) RGB uint8"):
        predictor.detect([array])


def test_pictures_too_narrow_for_the_model_are_refused(predictor):
    assert len(predictor.detect([np.zeros((3, 300, 3), np.uint8)])) == 1
    with pytest.raises(InputError, match="image: 301 x 3 pixels; expected a longer side"):
        predictor.detect([np.zeros((3, 301, 3), np.uint8)])


def test_only_sure_detections_exist(weights, pictures):
    every = PersonSearchPredictor.load(weights, min_score=0.0).detect(pictures)
    least = np.median(np.concatenate([people.scores for people in every]))
    sure = PersonSearchPredictor.load(weights, min_score=float(least)).detect(pictures)
    assert 0 < sum(len(p.scores) for p in sure) < sum(len(p.scores) for p in every)
    assert min(p.scores.min() for p in sure if len(p.scores)) >= least
    with pytest.raises(InputError, match="min_score: 50; expected"):
        PersonSearchPredictor.load(weights, min_score=50)


def test_weights_come_with_their_config(weights, tmp_path, caplog):
    trained = load_trained_model(weights)
    assert not trained.model.training and len(trained.weights_sha256) == 64
    warnings = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert not warnings  # classifiers that are not wanted are no reason to warn
    (tmp_path / "config.yaml").rename(tmp_path / "other.yaml")
    with pytest.raises(InputError, match="config.yaml does not exist; expected the config"):
        load_trained_model(weights)
    assert load_trained_model(weights, tmp_path / "other.yaml").cfg.dump() == trained.cfg.dump()
    with pytest.raises(InputError, match="gone.pth' do not exist"):
        load_trained_model(tmp_path / "gone.pth")


def test_pictures_of_one_person_are_averaged():
    rows = np.eye(4, dtype=np.float32)
    np.testing.assert_allclose(average_embeddings([rows[0]]), rows[0])
    np.testing.assert_allclose(
        average_embeddings([rows[0], rows[1]]), (rows[0] + rows[1]) / np.sqrt(2)
    )
    with pytest.raises(InputError, match="no image of the person"):
        average_embeddings([])
    with pytest.raises(InputError, match="nothing in common"):
        average_embeddings([rows[0], -rows[0]])
