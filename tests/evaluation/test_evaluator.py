"""The evaluator collects, writes and scores predictions, in one process and in several."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from detectron2.structures import Boxes, Instances

from clsa_search.data import get_records, save_custom_json
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
from tests.support.evaluation_cases import generate_dataset, make_image, make_record
from tests.support.processes import run_together


@pytest.fixture
def dataset(tmp_path):
    """(name, records, model outputs by image id)."""
    records, predictions = generate_dataset(np.random.default_rng(3), images=9)
    write_dataset(tmp_path / "made.json", records)
    name = str(tmp_path / "made.json")
    return name, get_records(name), to_outputs(predictions)


def write_dataset(path, records):
    def to_annotation(record, given):
        x0, y0, x1, y1 = given["bbox"]
        box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "person_id": given["person_id"]}
        return box | {"image_id": record["image_id"]}

    queries = [(query, record) for record in records for query in record.get("queries", [])]
    save_custom_json(
        path,
        images=[
            {"id": r["image_id"], "file_name": r["file_name"], "width": 200, "height": 100}
            for r in records
        ],
        annotations=[to_annotation(r, person) for r in records for person in r["annotations"]],
        queries=[
            to_annotation(r, q) for q, r in sorted(queries, key=lambda pair: pair[0]["query_id"])
        ],
    )


def to_outputs(predictions):
    """{image id: model output}, with queries only on images that have some."""
    outputs = {}
    for i, image_id in enumerate(predictions.image_ids.tolist()):
        detections = predictions.detections.row(i)
        instances = Instances(
            (100, 200),
            pred_boxes=Boxes(torch.from_numpy(detections.boxes)),
            scores=torch.from_numpy(detections.scores),
            pred_classes=torch.zeros(len(detections), dtype=torch.int64),
            embeddings=torch.from_numpy(detections.embeddings).requires_grad_(),
        )
        outputs[image_id] = {"instances": instances}
        queries = predictions.queries[predictions.queries.image_ids == image_id]
        if len(queries):
            outputs[image_id]["queries"] = Instances(
                (100, 200),
                pred_boxes=Boxes(torch.from_numpy(queries.boxes)),
                query_ids=torch.from_numpy(queries.ids),
                embeddings=torch.from_numpy(queries.embeddings),
            )
    return outputs


def evaluate(name, outputs, order, output_dir, **options):
    """Process the images in the given order, two at a time, and evaluate."""
    evaluator = PersonSearchEvaluator(name, output_dir=output_dir, **options)
    evaluator.reset()
    for start in range(0, len(order), 2):
        batch = order[start : start + 2]
        inputs = [{"image_id": image_id, "file_name": image_id} for image_id in batch]
        evaluator.process(inputs, [outputs[image_id] for image_id in batch])
    return evaluator.evaluate()


def read_arrays(path):
    return asdict(replace(load_predictions(path), meta={}))


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


def test_two_processes_give_the_results_of_one(dataset, tmp_path):
    name, _, outputs = dataset
    order = sorted(outputs)
    results = evaluate(name, outputs, order, tmp_path / "one")
    # as from a padding sampler: images 0 and 1 come twice
    shares = [order[::2] + order[1:2], order[1::2] + order[:1]]
    torch.save(outputs, tmp_path / "outputs.pth")
    run_together(run_process, name, shares, tmp_path)
    check_two_agree_with_one(tmp_path, results)


def check_two_agree_with_one(folder, results):
    results_by_rank = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]
    assert results_by_rank == [results, {}]
    one, other = (read_arrays(folder / side / "predictions.npz") for side in ("one", "two"))
    np.testing.assert_equal(one, other)


def run_process(rank, name, shares, folder):
    outputs = torch.load(folder / "outputs.pth", weights_only=False)
    results = evaluate(name, outputs, shares[rank], folder / "two")
    (folder / f"{rank}.json").write_text(json.dumps(results))


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


def with_gt_people(outputs, records):
    """Outputs of a model for inputs with `gt_boxes`."""
    given = {}
    for record in records:
        output = outputs[record["image_id"]]
        boxes = torch.tensor([p["bbox"] for p in record["annotations"]]).reshape(-1, 4).float()
        people = torch.tensor([p["person_id"] for p in record["annotations"]]).long()
        people = Instances(
            (100, 200),
            pred_boxes=Boxes(boxes),
            embeddings=torch.eye(8)[people % 8],
        )
        given[record["image_id"]] = output | {"gt_people": people}
    return given


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


@pytest.mark.parametrize("gt_boxes", [False, True])
def test_an_interrupted_extraction_resumes(dataset, tmp_path, gt_boxes):
    name, records, outputs = dataset
    outputs = with_gt_people(outputs, records) if gt_boxes else outputs
    order = sorted(outputs)
    expected = evaluate(name, outputs, order, tmp_path / "one", gt_boxes=gt_boxes)

    def start(**changed):
        options = {"meta": {"weights": "12ab"}, "shard_size": 2, "gt_boxes": gt_boxes} | changed
        return PersonSearchEvaluator(name, output_dir=tmp_path / "two", **options)

    def process(evaluator, images):
        for image in images:
            evaluator.process([{"image_id": image}], [outputs[image]])

    first = start()
    assert first.restore() == set()
    process(first, order[:5])  # two shards, and one unsaved image
    second = start()
    assert second.restore() == set(order[:4])
    process(second, order[4:7])
    third = start()
    assert third.restore() == set(order[:6])
    third.reset()  # as inference_on_dataset does
    process(third, order[6:])
    assert third.evaluate() == expected
    one, two = (read_arrays(tmp_path / side / "predictions.npz") for side in ("one", "two"))
    assert (one["ground_truth"] is not None) == gt_boxes
    np.testing.assert_equal(one, two)
    assert not list((tmp_path / "two").glob("predictions.partial*"))


def test_shards_of_another_model_or_dataset_are_ignored(dataset, tmp_path):
    name, records, outputs = dataset
    options = {"output_dir": tmp_path, "shard_size": 1}
    evaluator = PersonSearchEvaluator(name, meta={"weights": "12ab"}, **options)
    image = sorted(outputs)[0]
    evaluator.process([{"image_id": image}], [outputs[image]])
    again = PersonSearchEvaluator(name, meta={"weights": "12ab"}, **options)
    assert again.restore() == {image}
    assert PersonSearchEvaluator(name, meta={"weights": "34cd"}, **options).restore() == set()
    write_dataset(Path(name), records[:-1] + [records[-1] | {"annotations": []}])
    assert PersonSearchEvaluator(name, meta={"weights": "12ab"}, **options).restore() == set()


def test_two_processes_resume(dataset, tmp_path):
    name, _, outputs = dataset
    order = sorted(outputs)
    results = evaluate(name, outputs, order, tmp_path / "one")
    torch.save(outputs, tmp_path / "outputs.pth")
    (tmp_path / "two").mkdir()
    run_together(interrupt_and_resume, name, order, tmp_path)
    check_two_agree_with_one(tmp_path, results)


def interrupt_and_resume(rank, name, order, folder):
    outputs = torch.load(folder / "outputs.pth", weights_only=False)
    options = {"output_dir": folder / "two", "shard_size": 1}
    first = PersonSearchEvaluator(name, **options)
    assert first.restore() == set()
    for image in order[rank:5:2]:
        first.process([{"image_id": image}], [outputs[image]])
    dist.barrier()
    second = PersonSearchEvaluator(name, **options)
    assert second.restore() == set(order[:5])
    for image in order[5:][rank::2]:
        second.process([{"image_id": image}], [outputs[image]])
    (folder / f"{rank}.json").write_text(json.dumps(second.evaluate()))
