"""The evaluator on several processes, and after an interruption."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from clsa_search.evaluation import (
    PersonSearchEvaluator,
)
from tests.support.evaluator_cases import (
    evaluate,
    read_arrays,
    with_gt_people,
    write_dataset,
)
from tests.support.processes import run_together


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
