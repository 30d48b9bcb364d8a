"""Detection metrics: hand-worked cases and a reference."""

from dataclasses import replace

import numpy as np
import pytest

from clsa_search.evaluation import Predictions, evaluate_detection
from tests.support import reference_metrics
from tests.support.evaluation_cases import generate_dataset, make_image, make_record

BOX, ELSEWHERE = (0, 0, 40, 80), (100, 0, 140, 80)


@pytest.mark.parametrize("labeled_only", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_detection_agrees_with_the_reference(seed, labeled_only):
    records, predictions = generate_dataset(np.random.default_rng(seed), images=6)
    # the reference takes the first of equals, so sort by score
    predictions = sort_by_score(predictions)
    options = {"score_threshold": 0.4, "iou_threshold": 0.5, "labeled_only": labeled_only}
    result = evaluate_detection(predictions, records, **options)
    expected = reference_metrics.detection(predictions, records, **options)
    np.testing.assert_allclose(list(result.values()), np.multiply(expected, 100), atol=1e-9)


def sort_by_score(predictions):
    detections = predictions.detections
    order = np.lexsort((-detections.values.scores, detections.owners))
    return replace(predictions, detections=replace(detections, values=detections.values[order]))


def detect(detections, annotations, **options):
    """`detections`: (box, score); `annotations`: (box, person_id); all in one image."""
    output = make_image([(box, score, (1, 0)) for box, score in detections])
    predictions = Predictions.from_images({"a": output})
    return evaluate_detection(predictions, [make_record("a", annotations)], **options)


def test_detection_by_hand():
    # by score: right, wrong (no box there), right (IoU 0.75); one of three boxes is missed
    found = [(BOX, 0.9), ((50, 0, 90, 80), 0.8), ((100, 0, 140, 60), 0.7)]
    annotations = [(BOX, 0), (ELSEWHERE, -1), ((150, 0, 190, 80), 1)]
    result = detect(found, annotations)
    assert result["recall"] == pytest.approx(100 * 2 / 3)
    assert result["AP"] == pytest.approx(100 * 2 / 3 * (0.5 * 1 + 0.5 * 2 / 3))
    # without the unlabeled box, only its detection is left out
    labeled = detect(found, annotations, labeled_only=True)
    assert labeled == {"recall": pytest.approx(50), "AP": pytest.approx(50 * 1)}
    more = [(ELSEWHERE, 0.95), *found, (ELSEWHERE, 0.96)]
    labeled = detect(more, annotations, labeled_only=True)
    assert labeled == {"recall": pytest.approx(50), "AP": pytest.approx(50 * 1 / 2)}


def test_a_perfect_detector_is_perfect_on_labeled_boxes_too():
    annotations = [(BOX, 0), (ELSEWHERE, -1), ((10, 0, 50, 80), -1)]
    found = [(box, 0.5 + row / 9) for row, (box, _) in enumerate(annotations)]
    perfect = {"recall": 100, "AP": pytest.approx(100)}
    assert detect(found, annotations) == perfect
    assert detect(found, annotations, labeled_only=True) == perfect


def test_detection_is_one_to_one():
    # two detections of one box: the closer one is right, at rank 2
    assert detect([((0, 0, 40, 70), 0.9), (BOX, 0.8)], [(BOX, 0)])["AP"] == pytest.approx(50)
    # of two equally close detections, the one of higher score is right
    assert detect([(BOX, 0.8), (BOX, 0.9)], [(BOX, 0)])["AP"] == pytest.approx(100)
    # an IoU of exactly the threshold is a match
    assert detect([((0, 0, 40, 40), 0.9)], [(BOX, 0)])["recall"] == 100
    assert detect([((0, 0, 40, 39), 0.9)], [(BOX, 0)])["recall"] == 0
    # one detection on two boxes matches one of them
    assert detect([(BOX, 0.9)], [(BOX, 0), ((0, 0, 40, 79), 1)])["recall"] == pytest.approx(50)


def test_labeled_only_leaves_out_images_without_labeled_boxes():
    found = make_image([(BOX, 0.9, (1, 0))])
    predictions = Predictions.from_images({"a": found, "b": found})
    records = [make_record("a", [(BOX, 0)]), make_record("b", [(ELSEWHERE, -1)])]
    assert evaluate_detection(predictions, records)["AP"] == pytest.approx(25)
    assert evaluate_detection(predictions, records, labeled_only=True)["AP"] == pytest.approx(100)
