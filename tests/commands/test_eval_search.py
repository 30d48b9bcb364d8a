"""The command clsa-eval: tables, files, and errors for bad input."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from detectron2.modeling import build_model

from clsa_search.data import get_records
from clsa_search.engine import PersonSearchCheckpointer
from clsa_search.evaluation import (
    Predictions,
    evaluate_search,
    format_table,
    full_gallery_protocol,
    load_predictions,
    save_predictions,
    score_predictions,
)
from clsa_search.structures import Ragged
from tests.support.evaluation_cases import make_image, replace_detections
from tests.support.tiny import load_tool


@pytest.fixture
def run(capsys):
    """Run the command and return the printed lines."""
    tool = load_tool("eval_search")

    def run(*argv):
        tool.main([str(word) for word in argv])
        return capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def dataset(tiny_data):
    return tiny_data / "gallery.json"


@pytest.fixture
def predictions_file(dataset, tmp_path):
    """Predictions with every ground-truth box and an embedding per identity."""

    def embed(person):
        return np.eye(5)[person["person_id"]]

    images = {
        record["image_id"]: make_image(
            [(person["bbox"], 0.9, embed(person)) for person in record["annotations"]],
            [(q["query_id"], q["bbox"], embed(q)) for q in record.get("queries", [])],
            width=5,
        )
        for record in get_records(str(dataset))
    }
    save_predictions(Predictions.from_images(images, {"config": "made"}), tmp_path / "p.npz")
    return tmp_path / "p.npz"


def test_a_predictions_file_is_scored(run, dataset, predictions_file):
    lines = run("--predictions", predictions_file, "--dataset", dataset)
    images = len(get_records(str(dataset)))
    assert lines[0].startswith(f"{predictions_file} on {dataset}: {images} images,")
    assert "detection    100.00  100.00" in lines
    assert "search       100.00  100.00  100.00  100.00" in lines
    assert any(line.startswith("chance") for line in lines)
    assert [file.name for file in predictions_file.parent.iterdir()] == ["p.npz"]


def test_results_and_sheets_are_written(run, dataset, predictions_file, tmp_path):
    arguments = ("--predictions", predictions_file, "--dataset", dataset)
    lines = run(*arguments, "--output-dir", tmp_path / "out", "--sheets", 2)
    assert f"results: {tmp_path / 'out' / 'results.json'}" in lines
    assert f"ranking sheets: {tmp_path / 'out' / 'sheets' / 'rankings.png'}" in lines
    assert len(list((tmp_path / "out" / "sheets").glob("query_*.png"))) == 2
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    records, predictions = get_records(str(dataset)), load_predictions(predictions_file)
    assert document["results"] == score_predictions(predictions, records)[0]
    found = evaluate_search(predictions, full_gallery_protocol(records))
    assert document["per_query"] == found.per_query()
    assert document["meta"] == {"config": "made"}
    run(*arguments, "--json", tmp_path / "deep" / "r.json")
    assert json.loads((tmp_path / "deep" / "r.json").read_text()) == document


def test_score_threshold_counts(run, dataset, predictions_file):
    lines = run("--predictions", predictions_file, "--dataset", dataset, "--score-threshold", 0.95)
    assert " 0 detections," in lines[0]
    assert "detection      0.00    0.00" in lines


def test_results_of_another_detector_are_evaluated(
    run, fails, dataset, demo_config_file, tiny_cfg, tiny_opts, tmp_path
):
    output = Path(tiny_cfg.OUTPUT_DIR)
    output.mkdir()
    PersonSearchCheckpointer(build_model(tiny_cfg), str(output)).save("model")
    results = [
        {"image_id": box["image_id"], "category_id": 1, "bbox": box["bbox"], "score": 0.9}
        for box in json.loads(dataset.read_text())["annotations"]
    ]
    detections = tmp_path / "results.json"
    away = results[0] | {"image_id": 999}
    detections.write_text(json.dumps([*results, away]))
    weights = ("--weights", output / "model.pth", "--output-dir", tmp_path / "out")
    arguments = ("--config-file", demo_config_file, "--dataset", dataset, *weights)
    lines = run(*arguments, "--detections", detections, *tiny_opts)
    assert lines[0].startswith(f"{detections}: {len(results)} of {len(results) + 1} boxes used")
    assert lines[1].startswith("not among the files: 1 image with 1 box, such as 999")
    assert "detection    100.00  100.00" in lines
    detections.write_text(json.dumps([results[0] | {"score": 3}]))
    message = fails(*arguments, "--detections", detections, *tiny_opts)
    assert "results[0]: 'score' is 3; expected a number from 0 to 1" in message


def test_a_checkpoint_is_evaluated(run, fails, dataset, demo_config_file, tiny_cfg, tiny_opts):
    output = Path(tiny_cfg.OUTPUT_DIR)
    output.mkdir()
    PersonSearchCheckpointer(build_model(tiny_cfg), str(output)).save("model")
    arguments = ("--config-file", demo_config_file, "--dataset", dataset)
    lines = run(*arguments, "--weights", output / "model.pth", *tiny_opts)
    results = json.loads((output / "results.json").read_text())["results"]
    predictions = load_predictions(output / "predictions.npz")
    expected = score_predictions(predictions, get_records(str(dataset)))[0]
    assert results == expected
    assert format_table(expected) in "\n".join(lines)
    other = ["MODEL.REID.HEAD.EMBED_DIM", "4"]
    message = fails(*arguments, "--weights", output / "model.pth", *tiny_opts, *other)
    assert "model.pth: not a checkpoint of the config's model" in message
    message = fails(*arguments, "--weights", output / "none.pth", *tiny_opts)
    assert "none.pth' does not exist" in message


def test_bad_input_is_named_in_one_line(fails, dataset, predictions_file, tmp_path, tiny_data):
    given = ("--predictions", predictions_file)
    message = fails(*given, "--dataset", tiny_data / "train.json")
    assert message.startswith(f"error: {predictions_file}: image_ids: ")
    assert "no_such_set" in fails(*given, "--dataset", "no_such_set")
    assert "none.json" in fails(*given, "--dataset", tmp_path / "none.json")
    message = fails("--predictions", tmp_path / "none.npz", "--dataset", dataset)
    assert message == f"error: {tmp_path / 'none.npz'}: cannot be read: No such file or directory"
    message = fails("--predictions", dataset, "--dataset", dataset)
    assert message == f"error: {dataset}: not a readable .npz archive: File is not a zip file"
    assert "none.yaml" in fails("--config-file", "none.yaml", "--dataset", dataset)
    assert "required" in fails("--dataset", dataset)
    assert "--weights" in fails(*given, "--dataset", dataset, "--weights", "model.pth")
    assert "--output-dir" in fails(*given, "--dataset", dataset, "--sheets", 3)
    assert "--sheets: '-1'; expected a whole number from 0" in fails(
        *given, "--dataset", dataset, "--sheets", -1
    )
    given = (*given, "--dataset", dataset)
    assert f"{tmp_path}: is a folder" in fails(*given, "--json", tmp_path)
    below = predictions_file / "r.json"
    assert f"{below}: cannot be written: " in fails(*given, "--json", below)
    message = fails(*given, "--output-dir", predictions_file)
    assert f"{predictions_file}: is not a folder; expected a folder" in message
    assert "'nan'; expected a number from 0 to 1" in fails(*given, "--score-threshold", "nan")
    assert "--k-reciprocal: 2 numbers" in fails(*given, "--k-reciprocal", 20, 6)
    assert "are 0, 6, 0.3, 200; expected whole" in fails(*given, "--k-reciprocal", 0, 6, 0.3)


def test_files_are_checked_before_anything_is_written(
    fails, dataset, predictions_file, tmp_path, demo_config_file, tiny_data
):
    predictions = load_predictions(predictions_file)
    moved = replace(predictions.queries, boxes=predictions.queries.boxes + 3)
    save_predictions(replace(predictions, queries=moved), tmp_path / "moved.npz")
    detections = predictions.detections
    rest = detections.values[:-1]
    fewer = Ragged(rest, detections.offsets.clip(max=len(rest)))
    save_predictions(replace(predictions, ground_truth=fewer), tmp_path / "fewer.npz")
    given = ("--dataset", dataset, "--output-dir", tmp_path / "out")
    scored = ("--predictions", predictions_file, *given)
    for words in ((*scored, "--compare"), (*given, "--predictions")):
        message = fails(*words, tmp_path / "moved.npz")
        assert message.startswith(f"error: {tmp_path / 'moved.npz'}: query_boxes: query 0 is at ")
        message = fails(*words, tmp_path / "fewer.npz")
        assert message.startswith(f"error: {tmp_path / 'fewer.npz'}: gt_boxes: ")
        assert "] is missing on image " in message
    # before the checkpoint is read
    message = fails("--config-file", demo_config_file, *given, "--compare", tmp_path / "moved.npz")
    assert "query_boxes" in message
    assert not (tmp_path / "out").exists()


def test_undefined_results_are_null_in_the_json(run, tmp_path):
    images = [{"id": 1, "file_name": "a.jpg", "width": 9, "height": 9}]
    document = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "empty.json").write_text(json.dumps(document))
    save_predictions(Predictions.from_images({"1": make_image()}), tmp_path / "p.npz")
    arguments = ("--predictions", tmp_path / "p.npz", "--dataset", tmp_path / "empty.json")
    lines = run(*arguments, "--output-dir", tmp_path, "--sheets", 4)
    assert "ranking sheets: none, the dataset has no queries" in lines
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["results"]["search"] == {"mAP": None, "top1": None, "top5": None, "top10": None}


def test_protocols_and_options_are_scored_in_one_run(run, fails, dataset, predictions_file):
    given = ("--predictions", predictions_file, "--dataset", dataset)
    lines = run(*given, "--protocols", "cross_camera", "all", "--weight-by-score")
    assert "search: protocol 'cross_camera'" in lines
    assert [line.split()[0] for line in lines if line.startswith("search_")] == ["search_all"]
    assert any(line.startswith("gallery size") for line in lines)
    assert any(line.startswith("height ratio") for line in lines)
    assert any(line.startswith("detection, labeled boxes") for line in lines)
    rerankers = (["--cbgm", 10, 3], ["--k-reciprocal"], ["--k-reciprocal", 20, 6, 0.3])
    for option in (*rerankers, ["--compat", "seqnet"]):
        assert any(line.startswith("search ") for line in run(*given, *option))
    assert "no protocol 'g50'; expected one of all, cross_camera" in fails(
        *given, "--protocols", "g50"
    )
    assert "CBGM: k1, k2 are 10, 9" in fails(*given, "--cbgm", 10, 9)
    assert "--gt-boxes" in fails(*given, "--gt-boxes")


def test_two_files_are_compared(run, dataset, predictions_file, tmp_path):
    predictions = load_predictions(predictions_file)
    embeddings = predictions.detections.values.embeddings
    worse = replace_detections(predictions, embeddings=np.roll(embeddings, 1, axis=1))
    save_predictions(worse, tmp_path / "old.npz")
    given = ("--predictions", predictions_file, "--dataset", dataset)
    lines = run(
        *(*given, "--compare", tmp_path / "old.npz", "--protocols", "all", "cross_camera"),
        *("--sheets", 2, "--output-dir", tmp_path / "out"),
    )
    start = lines.index(f"against {tmp_path / 'old.npz'}, paired bootstrap over the queries:")
    assert lines[start + 1].startswith("all: mAP +") and "95 % between +" in lines[start + 1]
    assert lines[start + 2].endswith("queries: 3 better, 0 worse, 0 equal")
    assert "most changed: " in lines[start + 3]
    assert lines[start + 4].startswith("cross_camera: mAP ")
    assert f"comparison: {tmp_path / 'out' / 'comparison.json'}" in lines
    document = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert list(document["protocols"]) == ["all", "cross_camera"]
    change = document["protocols"]["all"]
    before = evaluate_search(worse, full_gallery_protocol(get_records(str(dataset))))
    assert change["low"] <= change["difference"] <= change["high"]
    assert [row["before"] for row in change["per_query"]] == before.average_precision.tolist()
    assert [row["now"] for row in change["per_query"]] == [1, 1, 1]
    assert document["options"]["compare"] == str(tmp_path / "old.npz")
    changes = sorted(path.name for path in (tmp_path / "out" / "changes").iterdir())
    assert len(changes) == 3 and changes[-1] == "changes.png"
    same = run(*given, "--compare", predictions_file)
    assert same[-2].endswith("queries: 0 better, 0 worse, 3 equal")
    assert same[-1].endswith("most changed: none")


def test_results_contain_files_and_options(run, dataset, predictions_file, tmp_path):
    given = ("--predictions", predictions_file, "--dataset", dataset, "--json", tmp_path / "r.json")
    plain = {
        "dataset": str(dataset),
        "predictions": str(predictions_file),
        "score_threshold": 0.5,
        "weight_by_score": False,
        "reranker": None,
        "compat": None,
    }
    for words, changed in (
        ((), {}),
        (("--compat", "seqnet"), {"compat": "seqnet", "weight_by_score": True}),
        (("--cbgm", 10, 3), {"reranker": {"name": "CBGM", "k1": 10, "k2": 3}}),
        (("--score-threshold", 0.3), {"score_threshold": 0.3}),
    ):
        run(*given, *words)
        document = json.loads((tmp_path / "r.json").read_text())
        assert document["options"] == plain | changed


def test_details_are_written(run, dataset, predictions_file, tmp_path):
    given = ("--predictions", predictions_file, "--dataset", dataset)
    run(*given, "--protocols", "all", "cross_camera", "--output-dir", tmp_path / "out")
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    assert document["protocols"] == {"search": "all", "search_cross_camera": "cross_camera"}
    assert list(document["per_query_of"]) == ["cross_camera"]
    assert document["detection_labeled"]["recall"] == 100
    targets = [bucket["targets"] for bucket in document["details"]["scale_ratio"]]
    assert sum(targets) == sum(row["targets"] for row in document["per_query"]) > 0
    assert document["details"]["scale_ratio"][-1]["high"] is None
    sizes = [(size["protocol"], size["top1"]) for size in document["details"]["gallery_size"]]
    assert sizes == [("cross_camera", 100), ("all", 100)]
    for plot in ("scale.png", "gallery_size.png"):
        assert (tmp_path / "out" / plot).stat().st_size > 1000


def test_ground_truth_boxes_give_an_upper_bound(run, dataset, predictions_file, tmp_path):
    predictions = load_predictions(predictions_file)
    values = replace(
        predictions.detections.values,
        scores=np.ones(len(predictions.detections.values), np.float32),
    )
    truth = replace(predictions.detections, values=values)
    rolled = np.roll(values.embeddings, 1, axis=1)
    wrong = replace_detections(replace(predictions, ground_truth=truth), embeddings=rolled)
    save_predictions(wrong, tmp_path / "wrong.npz")
    lines = run("--predictions", tmp_path / "wrong.npz", "--dataset", dataset)
    assert "gt_boxes     100.00  100.00  100.00  100.00" in lines
    assert "search       100.00  100.00  100.00  100.00" not in lines
    assert not any(
        line.startswith("gt_boxes")
        for line in run("--predictions", predictions_file, "--dataset", dataset)
    )
