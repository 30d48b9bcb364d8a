"""Compatibility mode "seqnet" against a reference written from the description of the code base."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from clsa_search.data import build_gallery
from clsa_search.data.galleries import FirstListings
from clsa_search.evaluation import (
    CBGM,
    Predictions,
    SearchOptions,
    build_seqnet_protocol,
    evaluate_search,
    score_predictions,
)
from tests.support import reference_metrics
from tests.support.evaluation_cases import (
    generate_dataset,
    make_image,
    make_record,
    replace_detections,
)
from tests.support.reference_metrics import average_precision, dot, iou


def generate_gallery(rng, records):
    """Random images with repetition for every query, its own among them."""
    queries = [query["query_id"] for record in records for query in record.get("queries", [])]
    return build_gallery(
        {query: rng.integers(0, len(records), rng.integers(1, 12)).tolist() for query in queries}
    )


def truncate(person):
    x0, y0, x1, y1 = person.get("published_bbox", person["bbox"])
    w, h = x1 - x0, y1 - y0
    x0, y0 = max(x0, 0), max(y0, 0)
    return [int(x0), int(y0), int(x0 + w), int(y0 + h)]


def published_targets(record, query):
    """Boxes of the person in the file of a gallery: the query box only without another box."""
    boxes = [truncate(p) for p in record["annotations"] if p["person_id"] == query["person_id"]]
    if any(query is one for one in record.get("queries", [])) and len(boxes) > 1:
        distances = [
            max(abs(a - b) for a, b in zip(box, query["bbox"], strict=True)) for box in boxes
        ]
        if min(distances) < 1:
            del boxes[distances.index(min(distances))]
    return boxes


def evaluate_as_seqnet(predictions, records, gallery, query_record, cbgm=None):
    """Compute the average precision of a query in the images of a gallery, as SeqNet does.

    Queries without targets make SeqNet divide by zero; here they get 0. `cbgm`: (k1, k2).
    """
    query, person_id = query_record["query_id"], query_record["person_id"]
    similarities, count_gt, count_tp = {}, 0, 0
    detections = predictions.detections.values
    for image in gallery:
        count_gt += any(p["person_id"] == person_id for p in records[image]["annotations"])
        if image in similarities:
            continue
        start, stop = predictions.detections.offsets[image : image + 2]
        similarities[image] = [
            (
                dot(
                    detections.embeddings[d],
                    predictions.queries.embeddings[query],
                )
                * float(detections.scores[d]),
                detections.boxes[d],
            )
            for d in range(start, stop)
            if detections.scores[d] >= 0.5
        ]
    if cbgm:
        match_context(predictions, similarities, query, *cbgm)
    results = []
    for image, found in similarities.items():
        boxes = published_targets(records[image], query_record)
        found = sorted(found, key=lambda one: one[0])[::-1]
        labels = [False] * len(found)
        if boxes:
            box = boxes[0]
            w, h = box[2] - box[0], box[3] - box[1]
            for place, (_, roi) in enumerate(found):
                if iou(roi, box) >= min(0.5, w * h / ((w + 10) * (h + 10))):
                    labels[place] = True
                    count_tp += 1
                    break
        results += [(s, label) for (s, _), label in zip(found, labels, strict=True)]
    return average_precision(results) * count_tp / count_gt if count_tp else 0


def match_context(predictions, similarities, query, k1, k2):
    """Replace similarities as utils/km.py of SeqNet and its caller do, with SciPy for the matching.

    Detections of the query's image have no weight, those of the gallery their score.
    """
    ranked = sorted(
        ((s, image) for image, found in similarities.items() for s, _ in found), reverse=True
    )
    detections = predictions.detections.values
    home = predictions.image_ids.tolist().index(predictions.queries.image_ids[query])
    context = [
        d
        for d in range(*predictions.detections.offsets[home : home + 2])
        if detections.scores[d] >= 0.5
        and iou(detections.boxes[d], predictions.queries.boxes[query]) <= 0.5
    ]
    context.sort(key=lambda d: -detections.scores[d])
    people = [
        predictions.queries.embeddings[query],
        *detections.embeddings[context[: k2 - 1]],
    ]
    for image in {image for _, image in ranked[:k1]}:
        start, stop = predictions.detections.offsets[image : image + 2]
        rows = [d for d in range(start, stop) if detections.scores[d] >= 0.5]
        edges = np.array(
            [
                [dot(one, detections.embeddings[d]) * float(detections.scores[d]) for d in rows]
                for one in people
            ]
        )
        matched = linear_sum_assignment(edges, maximize=True)
        for person, column in zip(*matched, strict=True):
            if person == 0:
                similarities[image][column] = (edges[matched].max(), similarities[image][column][1])


def make_distinct(rng, predictions):
    """Give every detection its own embedding and score, to avoid ties."""

    def generate(count):
        rows = rng.standard_normal((count, 8))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    scores = rng.permutation(
        np.linspace(0.4, 1, len(predictions.detections.values.scores), dtype=np.float32)
    )
    embeddings, queries = generate(len(scores)), generate(len(predictions.queries))
    return replace_detections(predictions.replace_embeddings(embeddings, queries), scores=scores)


@pytest.mark.parametrize("cbgm", [None, (10, 3), (2, 2)])
@pytest.mark.parametrize("seed", range(40))
def test_average_precision_agrees_with_the_reference(seed, cbgm):
    rng = np.random.default_rng(seed)
    records, predictions = generate_dataset(rng)
    predictions = make_distinct(rng, predictions) if cbgm else predictions
    records = [shift_boxes(rng, record) for record in records]
    predictions = predictions.align(
        np.array([r["image_id"] for r in records]), predictions.queries.ids, score_threshold=0
    )
    gallery = generate_gallery(rng, records)
    protocol = build_seqnet_protocol(records, gallery, "made")
    options = SearchOptions(compat="seqnet", reranker=CBGM(*cbgm) if cbgm else None)
    result = evaluate_search(predictions, protocol, options, device="cpu")
    query_records = {query["query_id"]: query for r in records for query in r.get("queries", [])}
    expected = [
        evaluate_as_seqnet(
            predictions,
            records,
            gallery.images.row(row).tolist(),
            query_records[query_id],
            cbgm,
        )
        for row, query_id in enumerate(gallery.query_ids.tolist())
    ]
    np.testing.assert_allclose(result.average_precision, expected, rtol=0, atol=1e-9)


def shift_boxes(rng, record):
    """Move boxes by fractions of pixels, some published with corners outside the image."""
    annotations = []
    for person in record["annotations"]:
        published = np.array(person["bbox"]) + rng.integers(-40, 3, 4)[[0, 1, 0, 1]] / 4
        person = person | {"bbox": published.clip(min=0).tolist()}
        if (published < 0).any():
            person["published_bbox"] = published.tolist()
        annotations.append(person)
    return record | {"annotations": annotations}


def test_each_difference_from_the_default():
    """One case per line of the list in the module."""
    box, other = (0, 0, 40, 80), (100, 0, 140, 80)
    images = {
        "a": make_image([(box, 0.6, (1, 0))]),
        "b": make_image([(other, 1.0, (0.8, 0.6))]),
        "q": make_image(queries=[(0, box, (1, 0))]),
    }
    predictions = Predictions.from_images(images)
    records = [
        make_record("a", [(box, 0)]),
        make_record("b", [(box, 0), (other, 0)]),
        make_record("q", [], [(0, box, 0)]),
    ]

    def score(images, compat):
        options = SearchOptions(compat=compat)
        protocol = options.build_protocol(records, build_gallery({0: images}), "made")
        result = evaluate_search(predictions, protocol, options, device="cpu")
        return float(result.average_precision[0]), int(result.targets[0]), int(result.found[0])

    assert score([0, 0], None) == (1.0, 2, 2)
    assert score([0, 0], "seqnet") == (0.5, 2, 1)
    assert score([1], None) == (1.0, 1, 1)  # detected on the second box of the person
    assert score([1], "seqnet") == (0.0, 1, 0)
    assert score([0, 1], None) == (1.0, 2, 2)
    # weighted by score, b comes first and is wrong
    assert score([0, 1], "seqnet") == (0.25, 2, 1)


@pytest.mark.parametrize("seed", range(10))
def test_detection_agrees_with_the_reference(seed):
    """Score threshold 0.01, and boxes in whole pixels."""
    rng = np.random.default_rng(seed)
    records, predictions = generate_dataset(rng)
    scores = rng.permutation(
        np.linspace(0, 1, len(predictions.detections.values.scores), dtype=np.float32)
    )
    # the reference takes the first of equals; sort by score, because some boxes come twice
    images = {
        name: replace(image, detections=image.detections[np.argsort(-image.detections.scores)])
        for name, image in replace_detections(predictions, scores=scores).to_images().items()
    }
    predictions = Predictions.from_images(images)
    records = [shift_boxes(rng, record) for record in records]
    results = score_predictions(predictions, records, SearchOptions(compat="seqnet"))[0]
    whole = [
        record | {"annotations": [one | {"bbox": truncate(one)} for one in record["annotations"]]}
        for record in records
    ]
    expected = reference_metrics.detection(predictions, whole, 0.01, 0.5, False)
    np.testing.assert_allclose(list(results["detection"].values()), np.multiply(expected, 100))


def test_boxes_are_truncated_and_moved():
    people = [((0, 5.9, 12.2, 30.7), 0)]
    records = [make_record("a", people), make_record("q", [], [(0, (0, 0, 9, 9), 0)])]
    gallery = build_gallery({0: [0]})
    plain = build_seqnet_protocol(records, gallery, "made")
    assert plain.targets.values.boxes.tolist() == [[0, 5, 12, 30]]
    records[0]["annotations"][0]["published_bbox"] = [-3.5, 5.9, 12.2, 30.7]
    moved = build_seqnet_protocol(records, gallery, "made")
    assert moved.targets.values.boxes.tolist() == [[0, 5, 15, 30]]  # 15.7 wide from 0
    assert records[0]["annotations"][0]["bbox"] == [0, 5.9, 12.2, 30.7]  # unchanged


def test_selected_queries_keep_their_unsearched_targets():
    rng = np.random.default_rng(0)
    records, _ = generate_dataset(rng)
    protocol = build_seqnet_protocol(records, generate_gallery(rng, records), "made")
    protocol = replace(protocol, unsearched=np.arange(len(protocol.query_ids)))
    assert protocol.select(protocol.query_ids[[3, 1]].tolist()).unsearched.tolist() == [3, 1]


def test_a_far_corner_on_a_whole_pixel_stays():
    """x + w is whole in float64; 170.29 + (253 - 170.29) is less."""
    records = [
        make_record("a", [((478.85, 170.29, 506.63, 253.0), 0)]),
        make_record("q", [], [(0, (0, 0, 9, 9), 0)]),
    ]
    protocol = build_seqnet_protocol(records, build_gallery({0: [0]}), "made")
    assert protocol.targets.values.boxes.tolist() == [[478, 170, 506, 253]]
    # 40 pixels high as published: -7.41 + 40 + 7.41 is less
    records[0]["annotations"][0]["published_bbox"] = [5, -7.41, 25, -7.41 + 40]
    moved = build_seqnet_protocol(records, build_gallery({0: [0]}), "made")
    assert moved.targets.values.boxes.tolist() == [[5, 0, 25, 40]]


def test_the_first_listing_of_an_image_names_the_target():
    """The image is listed twice, first with the box that is annotated last."""
    box, other = (0, 0, 40, 80), (100, 0, 140, 80)
    records = [
        make_record("a", [(box, 0), (other, 0)]),
        make_record("b", [(box, 0), (other, 0)]),
        make_record("q", [], [(0, box, 0)]),
    ]
    listings = FirstListings(
        query_ids=np.array([0]), images=np.array([0]), boxes=np.array([other], dtype=np.float64)
    )
    gallery = replace(build_gallery({0: [0, 0, 1]}), first_listings=listings)
    protocol = build_seqnet_protocol(records, gallery, "made")
    assert protocol.targets.values.images.tolist() == [0, 1]
    assert protocol.targets.values.boxes.tolist() == [list(other), list(box)]
    assert protocol.galleries.values.tolist() == [0, 1] and protocol.unsearched.tolist() == [1]
    plain = SearchOptions().build_protocol(records, gallery, "made")
    assert plain.targets.values.boxes.tolist() == [[*box], [*other]] * 2
