"""Datasets, model outputs and runs of the evaluator."""

from dataclasses import asdict, replace

import torch
from detectron2.structures import Boxes, Instances

from clsa_search.data import save_custom_json
from clsa_search.evaluation import (
    PersonSearchEvaluator,
    load_predictions,
)


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
