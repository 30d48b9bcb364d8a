"""Detection and embedding of arrays: equal to evaluation, independent of the batch; bad input."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from clsa_search.data import get_records
from clsa_search.data.given_detections import GivenBoxes
from clsa_search.data.image_io import read_image
from clsa_search.engine import load_trained_model, predict
from clsa_search.errors import InputError
from clsa_search.evaluation import load_predictions
from clsa_search.retrieval.gallery_search import average_embeddings
from clsa_search.retrieval.predictor import PersonSearchPredictor
from tests.support.devices import both_devices, tolerance

device = both_devices


@pytest.fixture(scope="module")
def images(tiny_data):
    return [read_image(r["file_name"]) for r in get_records(str(tiny_data / "gallery.json"))]


@pytest.fixture
def weights(tiny_cfg, tmp_path):
    """A checkpoint with its config beside it, as after training."""
    torch.manual_seed(0)
    torch.save({"model": build_model(tiny_cfg).state_dict()}, tmp_path / "model_final.pth")
    (tmp_path / "config.yaml").write_text(tiny_cfg.dump())
    return tmp_path / "model_final.pth"


@pytest.fixture
def predictor(weights):
    return PersonSearchPredictor.load(weights, min_score=0.0)


def arrays_of(detections):
    return detections.boxes, detections.scores, detections.embeddings


def test_outputs_equal_those_of_evaluation(predictor, weights, tiny_data, tiny_cfg, device):
    gallery = str(tiny_data / "gallery.json")
    tiny_cfg.MODEL.WEIGHTS = str(weights)
    predict(tiny_cfg, gallery, str(weights.parent / "eval"))
    predictions = load_predictions(weights.parent / "eval" / "predictions.npz")
    records = get_records(gallery)
    images = [read_image(record["file_name"]) for record in records]
    found = predictor.detect(images)
    for record, detections in zip(records, found, strict=True):
        row = predictions.image_ids.tolist().index(str(record["image_id"]))
        expected = predictions.detections.row(row)
        assert len(detections) > 0
        np.testing.assert_allclose(detections.boxes, expected.boxes, atol=1e-3)
        np.testing.assert_allclose(
            detections.embeddings, expected.embeddings, atol=tolerance(device)
        )
        for query in record.get("queries", []):
            given = predictor.embed(read_image(record["file_name"]), [query["bbox"]])
            index = predictions.queries.ids.tolist().index(query["query_id"])
            embedding = predictions.queries.embeddings[index]
            np.testing.assert_allclose(given[0], embedding, atol=tolerance(device))


def test_detections_do_not_depend_on_the_batch(predictor, images):
    mixed = [images[0], images[1], images[2][:50], images[3], images[4]]
    together = predictor.detect(mixed)
    for image, detections in zip(mixed, together, strict=True):
        (alone,) = predictor.detect([image])
        for one, other in zip(arrays_of(detections), arrays_of(alone), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-3)
    assert predictor.detect([]) == []


def test_prepared_images_give_the_same_detections(predictor, images, device):
    # a GPU computes sizes that it has seen before in another way, see `RecordedFunction`
    atol = 0 if device.type == "cpu" else 1e-3
    mixed = [images[0], predictor.prepare(images[1]), predictor.prepare(images[2][:50])]
    for detections, expected in zip(
        predictor.detect(mixed), predictor.detect([*images[:2], images[2][:50]]), strict=True
    ):
        assert len(detections.scores) > 0
        for one, other in zip(arrays_of(detections), arrays_of(expected), strict=True):
            np.testing.assert_allclose(one, other, atol=atol, rtol=0)


def test_a_detection_and_an_equal_box_get_the_same_embedding(predictor, images, device):
    (detections,) = predictor.detect(images[:1])
    embeddings = predictor.embed(images[0], detections.boxes)
    np.testing.assert_allclose(embeddings, detections.embeddings, atol=tolerance(device))


def test_boxes_are_clipped_to_the_image(predictor, images):
    beyond, clipped = predictor.embed(images[0], [[-50, 10, 40, 500], [0, 10, 40, 72]])
    assert (beyond == clipped).all()


@pytest.mark.parametrize(
    "box", [[96, 0, 120, 40], [30, 20, 30.5, 60], [40, 50, 20, 60], [0, 0, float("nan"), 9], [1, 2]]
)
def test_boxes_outside_the_image_are_refused(predictor, images, box):
    with pytest.raises(InputError, match="box: .*expected"):
        predictor.embed(images[0], [box])
    with pytest.raises(InputError, match="box: none; expected"):
        predictor.embed(images[0], [])


@pytest.mark.parametrize(
    "array", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3))]
)
def test_arrays_of_other_shapes_are_refused(predictor, array):
    with pytest.raises(InputError, match=r"expected \(H, W, 3\) RGB uint8"):
        predictor.detect([array])


def test_too_narrow_images_are_refused(predictor):
    assert len(predictor.detect([np.zeros((3, 300, 3), np.uint8)])) == 1
    with pytest.raises(InputError, match="image: 301 x 3 pixels; expected a longer side"):
        predictor.detect([np.zeros((3, 301, 3), np.uint8)])
    with pytest.raises(InputError, match="image: 0 x 0 pixels; expected"):
        predictor.detect([np.zeros((0, 0, 3), np.uint8)])


def test_detections_below_the_minimum_score_are_dropped(weights, images):
    every = PersonSearchPredictor.load(weights, min_score=0.0).detect(images)
    threshold = np.median(np.concatenate([detections.scores for detections in every]))
    confident = PersonSearchPredictor.load(weights, min_score=float(threshold)).detect(images)
    assert 0 < sum(len(p.scores) for p in confident) < sum(len(p.scores) for p in every)
    assert min(p.scores.min() for p in confident if len(p.scores)) >= threshold
    with pytest.raises(InputError, match="min_score: 50; expected"):
        PersonSearchPredictor.load(weights, min_score=50)


def test_the_config_beside_the_weights_is_used(weights, tmp_path, caplog):
    trained = load_trained_model(weights)
    assert not trained.model.training and len(trained.weights_sha256) == 64
    warnings = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert not warnings  # no warning about the missing identity classifiers
    (tmp_path / "config.yaml").rename(tmp_path / "other.yaml")
    with pytest.raises(InputError, match="config.yaml does not exist; expected the config"):
        load_trained_model(weights)
    assert load_trained_model(weights, tmp_path / "other.yaml").cfg.dump() == trained.cfg.dump()
    with pytest.raises(InputError, match="gone.pth' do not exist"):
        load_trained_model(tmp_path / "gone.pth")


def test_embeddings_of_one_person_are_averaged():
    rows = np.eye(4, dtype=np.float32)
    np.testing.assert_allclose(average_embeddings([rows[0]]), rows[0])
    np.testing.assert_allclose(
        average_embeddings([rows[0], rows[1]]), (rows[0] + rows[1]) / np.sqrt(2)
    )
    with pytest.raises(InputError, match="no image of the person"):
        average_embeddings([])
    with pytest.raises(InputError, match="nothing in common"):
        average_embeddings([rows[0], -rows[0]])


def test_boxes_of_another_detector_replace_detections(predictor, images, monkeypatch):
    def detect(images):
        raise AssertionError("the detector runs")

    given = GivenBoxes(np.array([[4.0, 8, 20, 60], [30, 10, 60, 70]]), np.array([0.25, 0.75]))
    none = GivenBoxes(np.zeros((0, 4)), np.zeros(0))
    expected = predictor.embed(images[0], given.boxes)
    detected = predictor.detect([images[1]])
    inputs = [predictor.prepare(images[0], detections=x) for x in (given, none)]
    mixed = predictor.detect([*inputs, images[1]])
    monkeypatch.setattr(predictor.model, "detect", detect)
    monkeypatch.setattr(predictor.model.backbone, "forward", detect)
    found, empty = predictor.detect(inputs)
    np.testing.assert_allclose(found.boxes, given.boxes, atol=1e-3)
    np.testing.assert_array_equal(found.scores, np.float32([0.25, 0.75]))
    np.testing.assert_allclose(found.embeddings, expected, atol=1e-5)
    assert len(empty) == 0 and empty.embeddings.shape == (0, expected.shape[1])
    np.testing.assert_allclose(mixed[2].boxes, detected[0].boxes, atol=1e-3)


def test_threads_share_a_predictor(predictor, images, monkeypatch):
    """The model computes one batch at a time: graphs overwrite the outputs of the last one."""
    literally, at_work = predictor.model.inference, []

    def infer(*args):
        at_work.append(None)
        assert len(at_work) == 1
        time.sleep(0.01)
        try:
            return literally(*args)
        finally:
            at_work.pop()

    (expected,) = predictor.detect(images[:1])
    monkeypatch.setattr(predictor.model, "inference", infer)
    box = [[4, 4, 30, 60]]
    with ThreadPoolExecutor(4) as pool:
        detected = [pool.submit(predictor.detect, images[:1]) for _ in range(4)]
        embedded = [pool.submit(predictor.embed, images[0], box) for _ in range(4)]
    for one in detected:
        (found,) = one.result()
        np.testing.assert_allclose(found.embeddings, expected.embeddings, atol=1e-5)
    assert all(np.allclose(one.result(), embedded[0].result(), atol=1e-5) for one in embedded)
