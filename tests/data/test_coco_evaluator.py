"""Detectron2's COCOEvaluator works on the records of every dataset."""

import json
import re

import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances

from clsa_search.data import get_records, register_custom_json
from tests.support.published_datasets import WRITERS
from tests.support.tiny import ROOT, make_split


def evaluate(name, output_dir):
    """Return AP of the ground-truth boxes as detections."""
    records = get_records(name)
    # the fast implementation is compiled
    evaluator = COCOEvaluator(
        name, output_dir=str(output_dir), distributed=False, use_fast_impl=False
    )
    evaluator.reset()
    for record in records:
        boxes = torch.tensor([one["bbox"] for one in record["annotations"]]).reshape(-1, 4)
        output = Instances(
            (record["height"], record["width"]),
            pred_boxes=Boxes(boxes),
            scores=torch.ones(len(boxes)),
            pred_classes=torch.zeros(len(boxes), dtype=torch.long),
        )
        evaluator.process([record], [{"instances": output}])
    return evaluator.evaluate()["bbox"]["AP"]


def test_custom_json(tmp_path):
    path = str(make_split(tmp_path, "own", images=6, queries=True))
    assert evaluate(path, tmp_path / "out") == pytest.approx(100)


def test_the_documented_example(tmp_path):
    """Its boxes leave the image, so that clipped ones have a lower IoU."""
    text = (ROOT / "datasets" / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "example.json"
    path.write_text(example)
    assert evaluate(str(path), tmp_path / "out") > 70


def test_one_of_several_categories(tmp_path):
    document = json.loads(make_split(tmp_path, "own", images=6, queries=False).read_text())
    document["categories"] = [{"id": 4, "name": "car"}, {"id": 9, "name": "person"}]
    for annotation in document["annotations"]:
        annotation["category_id"] = 9
    path = tmp_path / "cars.json"
    path.write_text(json.dumps(document))
    name = f"cars {path}"
    register_custom_json(name, path, category="person")
    assert evaluate(name, tmp_path / "out") == pytest.approx(100)


@pytest.mark.parametrize(
    "name", ["cuhk_sysu_gallery", "movienet_ps_gallery", "prw_gallery", "posetrack21_gallery"]
)
def test_published_datasets(name, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    WRITERS[name.removesuffix("_gallery")](tmp_path / name.removesuffix("_gallery"))
    try:
        assert evaluate(name, tmp_path / "out") == pytest.approx(100)
    finally:  # the evaluator names its own file there
        vars(MetadataCatalog.get(name)).pop("json_file", None)
