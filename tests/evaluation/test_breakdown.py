"""mAP by scale ratio, target height and gallery size: hand-worked cases and a reference."""

import math

import numpy as np
import pytest

from clsa_search.evaluation import (
    Predictions,
    compare_gallery_sizes,
    evaluate_scale_ratios,
    evaluate_search,
    evaluate_target_heights,
    full_gallery_protocol,
)
from clsa_search.evaluation.breakdown import SCALE_RATIOS, TARGET_HEIGHTS
from tests.support import reference_metrics
from tests.support.evaluation_cases import (
    generate_dataset,
    generate_protocol,
    make_image,
    make_protocol,
    make_record,
)


def query_boxes(records):
    return {q["query_id"]: q["bbox"] for r in records for q in r.get("queries", [])}


def find_buckets(result_by_query, values, edges):
    """Compute (mAP, queries, targets) of each bucket from the definition."""
    table = []
    bounds = [0, *edges, math.inf]
    for low, high in zip(bounds, bounds[1:], strict=False):
        precisions, targets = [], 0
        for q, (positives, results, _) in enumerate(result_by_query):
            mine = [low <= values[q, image] < high for image, _ in positives]
            if not any(mine):
                continue
            wanted = {image for image, _ in positives if low <= values[q, image] < high}
            kept = [(s, right) for s, right, image in results if not right or image in wanted]
            found = sum(right for _, right in kept)
            precisions.append(reference_metrics.average_precision(kept) * found / sum(mine))
            targets += sum(mine)
        mean = 100 * sum(precisions) / len(precisions) if precisions else math.nan
        table.append((mean, len(precisions), targets))
    return table


@pytest.mark.parametrize("seed", range(30))
def test_buckets_agree_with_the_reference(seed):
    rng = np.random.default_rng(seed)
    records, predictions = generate_dataset(rng)
    protocol = full_gallery_protocol(records) if seed % 2 else generate_protocol(rng, records)
    result = evaluate_search(predictions, protocol, device="cpu")
    ranked = list(reference_metrics.rank_all(predictions, protocol, 0.5, with_images=True))
    boxes, heights, ratios = query_boxes(records), {}, {}
    for q, query_id in enumerate(protocol.query_ids.tolist()):
        targets = protocol.targets.row(q)
        for box, image in zip(targets.boxes, targets.images, strict=True):
            heights[q, image] = max(heights.get((q, image), 0), box[3] - box[1])
            ratios[q, image] = heights[q, image] / (boxes[query_id][3] - boxes[query_id][1])
    for buckets, values, edges in (
        (evaluate_scale_ratios(result, protocol, records), ratios, SCALE_RATIOS),
        (evaluate_scale_ratios(result, protocol, records, edges=(0.7, 1.4)), ratios, (0.7, 1.4)),
        (evaluate_target_heights(result, protocol), heights, TARGET_HEIGHTS),
    ):
        expected = find_buckets(ranked, values, edges)
        assert [(b.queries, b.targets) for b in buckets] == [row[1:] for row in expected]
        np.testing.assert_allclose([b.mAP for b in buckets], [r[0] for r in expected], atol=1e-9)


def test_buckets_by_hand():
    # ranking: near (as high as the query), other, far (a quarter of its height)
    box, small, tiny = (0, 0, 50, 100), (0, 0, 12, 25), (60, 0, 72, 24.9)
    images = {
        "far": make_image([(small, 0.9, (0.6, 0.8))]),
        "near": make_image([(box, 0.9, (1, 0))]),
        "other": make_image([(box, 0.9, (0.8, 0.6))]),
        "q": make_image(queries=[(0, box, (1, 0))]),
    }
    records = [make_record(name) for name in images]
    records[-1] = make_record("q", queries=[(0, box, 0)])
    predictions = Predictions.from_images(images)
    protocol = make_protocol([*images], [(0, [0, 1, 2], [(0, tiny), (0, small), (1, box)])])
    result = evaluate_search(predictions, protocol, device="cpu")
    assert result.metrics()["mAP"] == pytest.approx(100 * (1 + 2 / 3) / 2)
    ratios = evaluate_scale_ratios(result, protocol, records)
    filled = {(b.low, b.high): (b.mAP, b.recall, b.queries, b.targets) for b in ratios if b.targets}
    assert (
        filled
        == {
            SCALE_RATIOS[0:2]: (50, 100, 1, 1),  # after the detection in other; 24.9 is lower
            SCALE_RATIOS[4:6]: (100, 100, 1, 1),
        }
    )
    heights = evaluate_target_heights(result, protocol)
    assert [(b.low, b.targets) for b in heights if b.targets] == [(0, 1), (64, 1)]
    assert all(math.isnan(b.mAP) for b in ratios if not b.targets)


def test_gallery_sizes_compare_protocols_with_the_same_queries():
    rng = np.random.default_rng(1)
    records, predictions = generate_dataset(rng)
    full = full_gallery_protocol(records)
    small = generate_protocol(rng, records)
    small = small.select(full.query_ids.tolist())
    subset = full.select(full.query_ids[:2].tolist())
    protocols = [full, small, subset]
    results = [evaluate_search(predictions, protocol) for protocol in protocols]
    points = compare_gallery_sizes(results, protocols)
    assert [point.protocol for point in points] == ["made", "all"]
    assert points[1].images == len(records) - 1
    assert points[1].top1 == results[0].metrics()["top1"]


def test_buckets_without_queries_are_empty():
    predictions = Predictions.from_images({"a": make_image()})
    records = [make_record("a")]
    protocol = full_gallery_protocol(records)
    result = evaluate_search(predictions, protocol)
    assert all(b.targets == 0 for b in evaluate_scale_ratios(result, protocol, records))
    assert compare_gallery_sizes([result], [protocol])[0].images == 0
