"""The evaluator: what it collects, writes and returns, alone and over processes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.distributed as dist
from detectron2.structures import Boxes, Instances
from evaluation_cases import draw_dataset, make_image, make_record

from clsa_search.data import get_records, save_search_json
from clsa_search.errors import InputError
from clsa_search.evaluation import (
    PersonSearchEvaluator,
    Predictions,
    evaluate_detection,
    evaluate_search,
    full_gallery_protocol,
    load_predictions,
    score_predictions,
)


@pytest.fixture
def dataset(tmp_path):
    """(name, records, what a model might say of each image)."""
    records, predictions = draw_dataset(np.random.default_rng(3), images=9)
    write_dataset(tmp_path / "made.json", records)
    name = str(tmp_path / "made.json")
    return name, get_records(name), to_outputs(predictions)


def write_dataset(path, records):
    def to_entry(record, given):
        x0, y0, x1, y1 = given["bbox"]
        box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "person_id": given["person_id"]}
        return box | {"image_id": record["image_id"]}

    queries = [(query, record) for record in records for query in record.get("queries", [])]
    save_search_json(
        path,
        images=[
            {"id": r["image_id"], "file_name": r["file_name"], "width": 200, "height": 100}
            for r in records
        ],
        annotations=[to_entry(r, person) for r in records for person in r["annotations"]],
        queries=[to_entry(r, q) for q, r in sorted(queries, key=lambda pair: pair[0]["query_id"])],
    )


def to_outputs(predictions):
    """{image id: the model's output}, the queries only where there are some."""
    outputs = {}
    for i, image_id in enumerate(predictions.image_ids.tolist()):
        rows = slice(*predictions.offsets[i : i + 2])
        found = Instances(
            (100, 200),
            pred_boxes=Boxes(torch.from_numpy(predictions.boxes[rows])),
            scores=torch.from_numpy(predictions.scores[rows]),
            pred_classes=torch.zeros(len(predictions.scores[rows]), dtype=torch.int64),
            reid_features=torch.from_numpy(predictions.features[rows]).requires_grad_(),
        )
        outputs[image_id] = {"instances": found}
        mine = predictions.query_image_ids == image_id
        if mine.any():
            outputs[image_id]["queries"] = Instances(
                (100, 200),
                pred_boxes=Boxes(torch.from_numpy(predictions.query_boxes[mine])),
                query_ids=torch.from_numpy(predictions.query_ids[mine]),
                reid_features=torch.from_numpy(predictions.query_features[mine]),
            )
    return outputs


def evaluate(name, outputs, order, output_dir, **options):
    """Show an evaluator the images in that order, two at a time."""
    evaluator = PersonSearchEvaluator(name, output_dir=output_dir, **options)
    evaluator.reset()
    for start in range(0, len(order), 2):
        batch = order[start : start + 2]
        inputs = [{"image_id": image_id, "file_name": image_id} for image_id in batch]
        evaluator.process(inputs, [outputs[image_id] for image_id in batch])
    return evaluator.evaluate()


def read_arrays(path):
    return replace(load_predictions(path), meta=None)


def test_results_are_those_of_the_metrics(dataset, tmp_path):
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
    np.testing.assert_equal(vars(one), vars(other))


def test_score_threshold_is_for_scoring_only(dataset, tmp_path):
    name, records, outputs = dataset
    results = evaluate(name, outputs, sorted(outputs), tmp_path, score_threshold=0.8)
    predictions = load_predictions(tmp_path / "predictions.npz")
    assert predictions.scores.min() < 0.5
    assert results["detection"] == evaluate_detection(predictions, records, score_threshold=0.8)
    assert results == score_predictions(predictions, records, score_threshold=0.8)[0]


def test_reset_forgets(dataset):
    name, _, outputs = dataset
    evaluator = PersonSearchEvaluator(name)
    first, *others = sorted(outputs)
    evaluator.process([{"image_id": "of another run"}], [outputs[first]])
    evaluator.reset()
    evaluator.process([{"image_id": key} for key in others], [outputs[key] for key in others])
    with pytest.raises(InputError, match=f"image_ids: 1 missing, such as '{first}'"):
        evaluator.evaluate()


def test_queries_without_targets_are_counted(caplog):
    records = [make_record("a", queries=[(0, (0, 0, 9, 9), 0)]), make_record("b")]
    outputs = {"a": make_image(queries=[(0, (0, 0, 9, 9), (1, 0))]), "b": make_image()}
    results, search = score_predictions(Predictions.from_images(outputs), records)
    assert "1 of 1 queries have nobody to find" in caplog.text
    assert results["search"]["mAP"] == 0
    assert np.isnan(results["detection"]["AP"])
    assert search.targets.tolist() == [0]


def test_two_processes_give_what_one_gives(dataset, tmp_path):
    name, _, outputs = dataset
    order = sorted(outputs)
    results = evaluate(name, outputs, order, tmp_path / "one")
    # as a padding sampler deals them: image 0 and 1 come twice
    shares = [order[::2] + order[1:2], order[1::2] + order[:1]]
    torch.save(outputs, tmp_path / "outputs.pth")
    torch.multiprocessing.spawn(run_process, (name, shares, tmp_path), nprocs=2)
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert told == [results, {}]
    one, other = (read_arrays(tmp_path / side / "predictions.npz") for side in ("one", "two"))
    np.testing.assert_equal(vars(one), vars(other))


def run_process(rank, name, shares, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=len(shares))
    outputs = torch.load(folder / "outputs.pth", weights_only=False)
    results = evaluate(name, outputs, shares[rank], folder / "two")
    (folder / f"{rank}.json").write_text(json.dumps(results))
    dist.destroy_process_group()
