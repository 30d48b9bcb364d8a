"""The evaluator collects, writes and scores predictions, in one process and in several."""

import json
from pathlib import Path

import numpy as np
import pytest

from clsa_search.data import get_records
from clsa_search.errors import InputError
from clsa_search.evaluation import (
    PersonSearchEvaluator,
    Predictions,
    SearchOptions,
    build_seqnet_protocol,
    evaluate_detection,
    evaluate_search,
    full_gallery_protocol,
    load_predictions,
    load_protocols,
    score_predictions,
)
from tests.support.evaluation_cases import make_image, make_record
from tests.support.evaluator_cases import (
    evaluate,
    read_arrays,
    with_gt_people,
)


def test_results_are_the_metrics(dataset, tmp_path):
    name, records, outputs = dataset
    meta = {"config": "x.yaml", "weights": "12ab"}
    results = evaluate(name, outputs, sorted(outputs), tmp_path, meta=meta)
    predictions = load_predictions(tmp_path / "predictions.npz")
    search = evaluate_search(predictions, full_gallery_protocol(records)).metrics()
    assert results["detection"] == evaluate_detection(predictions, records)
    assert results["search"] == search
    assert list(results) == ["detection", "search", "chance"]
    assert list(results["chance"]) == list(search) == ["mAP", "top1", "top5", "top10"]
    assert 0 < results["chance"]["mAP"] < 100
    assert predictions.meta.pop("date").startswith("20")
    assert predictions.meta == {"dataset": name} | meta


def test_order_and_repeated_images_do_not_matter(dataset, tmp_path):
    name, _, outputs = dataset
    order = sorted(outputs)
    results = evaluate(name, outputs, order, tmp_path / "one")
    assert evaluate(name, outputs, order[::-1] + order[:3], tmp_path / "other") == results
    one, other = (read_arrays(tmp_path / side / "predictions.npz") for side in ("one", "other"))
    np.testing.assert_equal(one, other)


def test_score_threshold_is_for_scoring_only(dataset, tmp_path):
    name, records, outputs = dataset
    options = SearchOptions(score_threshold=0.8)
    results = evaluate(name, outputs, sorted(outputs), tmp_path, options=options)
    predictions = load_predictions(tmp_path / "predictions.npz")
    assert predictions.detections.values.scores.min() < 0.5
    assert results["detection"] == evaluate_detection(predictions, records, score_threshold=0.8)
    assert results == score_predictions(predictions, records, options)[0]


def test_the_compatibility_mode_changes_targets_weights_and_detection(dataset, tmp_path):
    """Targets, weights and detection change together, and protocols have to fit."""
    name, records, outputs = dataset
    options = SearchOptions(compat="seqnet")
    results = evaluate(name, outputs, sorted(outputs), tmp_path, options=options)
    predictions = load_predictions(tmp_path / "predictions.npz")
    protocols = load_protocols(name, records, build=build_seqnet_protocol)
    weighted = evaluate_search(predictions, protocols[0], options)
    assert results["search"] == weighted.metrics()
    assert results["detection"] == evaluate_detection(predictions, records, score_threshold=0.01)
    assert results == score_predictions(predictions, records, options)[0]
    plain = score_predictions(predictions, records)[0]
    assert all(results[row] != plain[row] for row in ("search", "detection"))
    with pytest.raises(InputError, match="'all' is built for compat None; expected 'seqnet'"):
        evaluate_search(predictions, full_gallery_protocol(records), options)
    with pytest.raises(InputError, match="'all' is built for compat 'seqnet'; expected None"):
        evaluate_search(predictions, protocols[0])


def test_without_protocols_predictions_are_only_written(dataset, tmp_path):
    name, _, outputs = dataset
    assert evaluate(name, outputs, sorted(outputs), tmp_path, protocols=()) == {}
    assert load_predictions(tmp_path / "predictions.npz").image_ids.tolist() == sorted(outputs)


def test_reset_drops_collected_images(dataset):
    name, _, outputs = dataset
    evaluator = PersonSearchEvaluator(name)
    first, *others = sorted(outputs)
    evaluator.process([{"image_id": "from another run"}], [outputs[first]])
    evaluator.reset()
    evaluator.process([{"image_id": key} for key in others], [outputs[key] for key in others])
    with pytest.raises(InputError, match=f"image_ids: 1 missing, such as '{first}'"):
        evaluator.evaluate()


def test_queries_without_targets_are_counted(caplog):
    records = [make_record("a", queries=[(0, (0, 0, 9, 9), 0)]), make_record("b")]
    outputs = {"a": make_image(queries=[(0, (0, 0, 9, 9), (1, 0))]), "b": make_image()}
    results, search = score_predictions(Predictions.from_images(outputs), records)
    assert "1 of 1 queries have no target in their gallery" in caplog.text
    assert results["search"]["mAP"] == 0
    assert np.isnan(results["detection"]["AP"])
    assert search.targets.tolist() == [0]


def test_further_protocols_have_rows_of_their_own(dataset, tmp_path):
    name, records, outputs = dataset
    document = json.loads(Path(name).read_text())
    queries = range(len(document["queries"]))
    ids = [record["image_id"] for record in records]
    document["galleries"] = {
        "small": {query: ids[:4] for query in queries},
        "odd": {query: [*ids[::2], ids[0]] for query in queries},
    }
    for query, entry in enumerate(document["queries"]):
        entry["id"] = query
    (tmp_path / "galleries.json").write_text(json.dumps(document))
    name = str(tmp_path / "galleries.json")
    results = evaluate(name, outputs, sorted(outputs), tmp_path, protocols=["odd", "all", "small"])
    assert list(results) == ["detection", "search", "search_all", "search_small", "chance"]
    predictions, records = load_predictions(tmp_path / "predictions.npz"), get_records(name)
    for row, protocol in zip(
        ("search", "search_all", "search_small"),
        load_protocols(name, records, ["odd", "all", "small"]),
        strict=True,
    ):
        assert results[row] == evaluate_search(predictions, protocol).metrics()
    assert list(evaluate(name, outputs, sorted(outputs), tmp_path))[1:3] == [
        *("search", "search_odd")
    ]  # the galleries of the file, in its order
    with pytest.raises(InputError, match="no protocol 'g50'; expected one of small, odd, all"):
        evaluate(name, outputs, sorted(outputs), tmp_path, protocols=["g50"])


def test_ground_truth_boxes_are_scored_beside_detections(dataset, tmp_path):
    name, records, outputs = dataset
    given = with_gt_people(outputs, records)
    plain = evaluate(name, outputs, sorted(outputs), tmp_path / "plain")
    results = evaluate(name, given, sorted(outputs), tmp_path, gt_boxes=True)
    assert list(results) == ["detection", "search", "gt_boxes", "chance"]
    assert {row: results[row] for row in plain} == plain
    without, arrays = (read_arrays(tmp_path / side / "predictions.npz") for side in ("plain", "."))
    np.testing.assert_equal(arrays | {"ground_truth": None}, without)
    upper = load_predictions(tmp_path / "predictions.npz").use_ground_truth()
    assert evaluate_detection(upper, records) == {"recall": 100, "AP": pytest.approx(100)}
    protocol = full_gallery_protocol(records)
    assert results["gt_boxes"] == evaluate_search(upper, protocol).metrics()
    assert results["gt_boxes"] != results["search"]
