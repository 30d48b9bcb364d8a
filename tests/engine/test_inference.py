"""Evaluation of a checkpoint: continued after an interruption, with ground-truth boxes."""

import os
from pathlib import Path

import numpy as np
import pytest
from detectron2.modeling import build_model

from clsa_search import engine
from clsa_search.data import get_records
from clsa_search.data.dataset_mapper import PersonSearchDatasetMapper
from clsa_search.data.given_detections import GivenBoxes
from clsa_search.engine import inference
from clsa_search.errors import InputError
from clsa_search.evaluation import PersonSearchEvaluator, load_predictions
from tests.support.devices import both_devices, tolerance
from tests.support.tiny import make_split

device = both_devices


@pytest.fixture
def model_cfg(tiny_cfg, tmp_path):
    """Config with a checkpoint of random weights."""
    engine.PersonSearchCheckpointer(build_model(tiny_cfg), str(tmp_path)).save("model")
    tiny_cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    return tiny_cfg


@pytest.fixture
def gallery(tiny_data):
    return str(tiny_data / "gallery.json")


class Interruption(Exception):
    pass


def assert_near(one, other):
    """Compare the predictions of two folders, made on a GPU.

    It chooses kernels by the size of a batch, and replays sizes that repeat. Random detections are
    nearly equal, so a few of them and their order may differ.
    """
    one, other = (load_predictions(folder / "predictions.npz") for folder in (one, other))
    assert one.image_ids.tolist() == other.image_ids.tolist()
    assert one.queries.ids.tolist() == other.queries.ids.tolist()
    np.testing.assert_allclose(one.queries.embeddings, other.queries.embeddings, atol=1e-3)
    shares = []
    for image in range(len(one.image_ids)):
        x, y = one.detections.row(image), other.detections.row(image)
        distances = np.abs(x.boxes[:, None] - y.boxes[None]).max(axis=2)
        close = (distances < 0.1) & (np.abs(x.scores[:, None] - y.scores[None]) < 1e-3)
        shares += close.any(axis=1).tolist()
    assert len(shares) > 5 and np.mean(shares) > 0.9


def test_an_interrupted_run_is_continued(model_cfg, gallery, tmp_path, monkeypatch, device):
    model_cfg.TEST.IMS_PER_BATCH = 1  # the last bit may depend on the batch
    results = engine.predict(model_cfg, gallery, str(tmp_path / "one"))
    monkeypatch.setattr(inference, "SHARD_SIZE", 3)
    shown = []
    process = PersonSearchEvaluator.process

    def watch(self, inputs, outputs):
        if limit and len(shown) == limit:
            raise Interruption
        shown.extend(image["image_id"] for image in inputs)
        process(self, inputs, outputs)

    monkeypatch.setattr(PersonSearchEvaluator, "process", watch)
    limit = 7
    with pytest.raises(Interruption):
        engine.predict(model_cfg, gallery, str(tmp_path / "two"))
    limit, shown = 0, []
    model_cfg.DATALOADER.NUM_WORKERS = 1  # changes no result
    continued = engine.predict(model_cfg, gallery, str(tmp_path / "two"))
    assert len(shown) == len(get_records(gallery)) - 6  # two shards of three were done
    assert [path.name for path in (tmp_path / "two").iterdir()] == ["predictions.npz"]
    if device.type == "cuda":
        assert_near(tmp_path / "one", tmp_path / "two")
        return
    assert continued == results
    one, two = (np.load(tmp_path / side / "predictions.npz") for side in ("one", "two"))
    for field in ("image_ids", "offsets", "boxes", "scores", "embeddings", "query_embeddings"):
        np.testing.assert_array_equal(one[field], two[field])


@pytest.mark.parametrize("workers", [0, 1])
def test_damaged_images_are_named_after_all_others_are_processed(
    model_cfg, tmp_path, caplog, workers
):
    path = make_split(tmp_path / "data", "own", images=6, queries=True)
    whole = {}
    for number in (1, 4):
        image = tmp_path / "data" / f"own_{number}.png"
        whole[image] = image.read_bytes()
        image.write_bytes(whole[image][: len(whole[image]) // 2])
    model_cfg.DATALOADER.NUM_WORKERS = workers
    model_cfg.TEST.IMS_PER_BATCH = 2
    folder = tmp_path / "output"
    with pytest.raises(InputError, match="own_1.png and 1 other image: without predictions"):
        engine.predict(model_cfg, str(path), str(folder))
    for image in whole:
        assert f"no predictions: {image}: not readable as an image" in caplog.text
    assert not (folder / "predictions.npz").exists()
    for image, content in whole.items():
        image.write_bytes(content)
    caplog.set_level("INFO")
    assert "search" in engine.predict(model_cfg, str(path), str(folder))
    assert f"{folder}: continues after 4 images" in caplog.text
    assert len(load_predictions(folder / "predictions.npz").image_ids) == 6


def test_the_batch_size_changes_no_result(model_cfg, gallery, tmp_path, device):
    for count in (1, 4):
        model_cfg.TEST.IMS_PER_BATCH = count
        engine.predict(model_cfg, gallery, str(tmp_path / str(count)))
    if device.type == "cuda":
        assert_near(tmp_path / "1", tmp_path / "4")
        return
    one, four = (np.load(tmp_path / side / "predictions.npz") for side in ("1", "4"))
    for field in ("image_ids", "offsets", "query_ids"):
        np.testing.assert_array_equal(one[field], four[field])
    for field in ("boxes", "scores", "embeddings", "query_embeddings"):
        np.testing.assert_allclose(one[field], four[field], atol=1e-4)


def test_a_run_without_scores_only_reads_no_image(model_cfg, gallery, tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "SHARD_SIZE", 1)
    evaluate = PersonSearchEvaluator.evaluate

    def stop(self):
        raise Interruption

    monkeypatch.setattr(PersonSearchEvaluator, "evaluate", stop)
    with pytest.raises(Interruption):
        engine.predict(model_cfg, gallery, str(tmp_path))
    monkeypatch.setattr(PersonSearchEvaluator, "evaluate", evaluate)
    monkeypatch.setattr(inference, "inference_on_dataset", None)
    assert "search" in engine.predict(model_cfg, gallery, str(tmp_path))


def test_ground_truth_boxes_are_embedded_as_queries_are(model_cfg, gallery, tmp_path, device):
    """A query's box is a ground-truth box too, so it is embedded twice."""
    results = engine.predict(model_cfg, gallery, str(tmp_path), gt_boxes=True)
    assert list(results) == ["detection", "search", "gt_boxes", "chance"]
    predictions = load_predictions(Path(tmp_path) / "predictions.npz")
    records = {str(record["image_id"]): record for record in get_records(gallery)}
    for image, image_id in enumerate(predictions.image_ids.tolist()):
        truth = predictions.ground_truth.row(image)
        boxes = [person["bbox"] for person in records[image_id]["annotations"]]
        np.testing.assert_allclose(
            truth.boxes.reshape(-1, 4), np.reshape(boxes, (-1, 4)), atol=1e-3
        )
        assert (truth.scores == 1).all()
    queries = predictions.queries
    for image_id, box, embedding in zip(
        queries.image_ids, queries.boxes, queries.embeddings, strict=True
    ):
        truth = predictions.ground_truth.row(predictions.image_ids.tolist().index(image_id))
        same = np.abs(truth.boxes - box).max(axis=1) < 1e-3
        np.testing.assert_allclose(truth.embeddings[same][0], embedding, atol=tolerance(device))


def test_the_mapper_adds_ground_truth_boxes_only_on_request(model_cfg, gallery):
    record = next(r for r in get_records(gallery) if r["annotations"] and r.get("queries"))
    plain = PersonSearchDatasetMapper(model_cfg, is_train=False)(record)
    both = PersonSearchDatasetMapper(model_cfg, is_train=False, gt_boxes=True)(record)
    assert both["query_ids"].equal(plain["query_ids"])
    assert both["query_boxes"].tensor.equal(plain["query_boxes"].tensor)
    assert len(both["query_boxes"]) == len(both["query_ids"]) == len(record["queries"])
    assert len(both["gt_boxes"]) == len(record["annotations"]) and "gt_boxes" not in plain


def test_boxes_of_another_detector_replace_detections(model_cfg, gallery, tmp_path):
    expected = engine.predict(model_cfg, gallery, str(tmp_path / "own"), gt_boxes=True)
    own = load_predictions(tmp_path / "own" / "predictions.npz")
    given = {}
    for record in get_records(gallery):
        boxes = np.array([a["bbox"] for a in record["annotations"]], dtype=float).reshape(-1, 4)
        if len(boxes):
            by_frame = {None: GivenBoxes(boxes, np.ones(len(boxes)))}
            given[os.path.abspath(record["file_name"])] = by_frame
    results = engine.predict(model_cfg, gallery, str(tmp_path / "given"), detections=given)
    assert results["search"] == pytest.approx(expected["gt_boxes"])
    assert results["search"]["mAP"] > 0 and results["detection"] == {"recall": 100, "AP": 100}
    predictions = load_predictions(tmp_path / "given" / "predictions.npz")
    one, other = predictions.detections.values, own.ground_truth.values
    np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
    np.testing.assert_allclose(one.embeddings, other.embeddings, atol=1e-5)
    assert predictions.meta["detections"] and "detections" not in own.meta
