"""Metrics of the ablation: of a run, of its levels, and of variants over seeds."""

import statistics

import numpy as np
import pytest

from benchmarks.ablation.run_metrics import compare_levels, evaluate_run, split_levels
from benchmarks.ablation.summary import summarize
from benchmarks.ablation.variants import VARIANTS, Variant
from clsa_search.data import get_records
from clsa_search.evaluation import full_gallery_protocol, save_predictions
from tests.support import reference_metrics
from tests.support.ablation_cases import LEVELS, WIDTH, make_predictions
from tests.support.evaluation_cases import generate_dataset, generate_protocol, replace_detections


@pytest.mark.parametrize("seed", range(8))
def test_levels_are_compared_like_by_hand(seed):
    rng = np.random.default_rng(seed)
    records, predictions = generate_dataset(rng)
    protocol = full_gallery_protocol(records) if seed % 2 else generate_protocol(rng, records)
    count, width = 3, 4
    embeddings, queries = (
        rng.standard_normal((len(rows), count * width)).astype(np.float32)
        for rows in (predictions.detections.values, predictions.queries)
    )
    parts = split_levels(predictions.replace_embeddings(embeddings, queries), LEVELS, width)
    agreement, correlation, rho = compare_levels(list(parts.values()), protocol)
    best, pairs, others = [], [], []
    for q, query_id in enumerate(protocol.query_ids.tolist()):
        query = queries[predictions.queries.ids.tolist().index(query_id)].reshape(count, width)
        mine = []
        for image in protocol.galleries.row(q):
            row = predictions.image_ids.tolist().index(protocol.image_ids[image])
            for d in range(*predictions.detections.offsets[row : row + 2]):
                if predictions.detections.values.scores[d] >= 0.5:
                    sims = (embeddings[d].reshape(count, width) * query).sum(axis=1)
                    mine.append((sims.tolist(), d))
                    if image not in protocol.targets.row(q).images:
                        others.append(sims.tolist())
        pairs += [sims for sims, _ in mine]
        if mine:
            best.append([max(mine, key=lambda match: match[0][i])[1] for i in range(count)])
    for i in range(count):
        for j in range(count):
            same = statistics.mean(row[i] == row[j] for row in best)
            assert agreement[i, j] == pytest.approx(same)
    np.testing.assert_allclose(correlation, np.corrcoef(np.array(pairs).T), atol=1e-6)
    np.testing.assert_allclose(rho, np.corrcoef(np.array(others).T), atol=1e-6)
    assert 0 < len(others) < len(pairs)


def test_metrics_of_a_run_agree_with_the_reference(tiny_data, tmp_path):
    """Compare every metric with the literal reference or simple arithmetic."""
    dataset = tiny_data / "gallery.json"
    predictions = make_predictions(dataset, 3)
    save_predictions(predictions, tmp_path / "predictions.npz")
    metrics = evaluate_run(tmp_path, str(dataset), LEVELS, WIDTH)
    protocol = full_gallery_protocol(get_records(str(dataset)))

    def search(predictions):
        return [row[0] for row in reference_metrics.search(predictions, protocol, 0.5)]

    assert metrics["search"]["mAP"] == pytest.approx(100 * statistics.mean(search(predictions)))
    upper = statistics.mean(search(predictions.use_ground_truth()))
    assert metrics["gt_boxes"]["mAP"] == pytest.approx(100 * upper)
    assert metrics["gt_boxes"]["mAP"] != metrics["search"]["mAP"]
    for place, level in enumerate(LEVELS):
        columns = slice(place * WIDTH, (place + 1) * WIDTH)
        alone = predictions.replace_embeddings(
            predictions.detections.values.embeddings[:, columns],
            predictions.queries.embeddings[:, columns],
        )
        assert metrics["level"][level] == pytest.approx(100 * statistics.mean(search(alone)))
    assert len({round(value, 3) for value in metrics["level"].values()}) == 3
    targets = len(protocol.targets.values)
    assert sum(metrics["targets_by_scale_ratio"].values()) == targets
    assert sum(metrics["targets_by_target_height"].values()) == targets
    assert list(metrics["agreement"]) == ["res3, res4", "res3, res5", "res4, res5"]
    assert 0 < metrics["correlation"]["res4, res5"] < 1
    assert metrics["rho"]["res3, res5"] < metrics["correlation"]["res3, res5"]
    assert set(metrics["scale"]) <= {"far", "similar", "near"}
    assert metrics["scale"]["similar"] > 0


def test_a_run_without_detections_has_metrics(tiny_data, tmp_path):
    dataset = tiny_data / "gallery.json"
    predictions = make_predictions(dataset, 3)
    predictions = replace_detections(predictions, scores=predictions.detections.values.scores * 0.4)
    save_predictions(predictions, tmp_path / "predictions.npz")
    metrics = evaluate_run(tmp_path, str(dataset), LEVELS, WIDTH)
    assert metrics["search"]["mAP"] == 0
    for group in ("agreement", "correlation", "rho"):
        assert np.isnan([*metrics[group].values()]).all()


def test_differences_are_paired_by_hand():
    def metrics(value, **levels):
        return {"search": {"mAP": value}, "level": levels}

    base, gain = Variant("base", "", {}, "base"), Variant("gain", "", {}, "base")
    by_variant = {
        "base": {1: metrics(50, res4=20, res5=40), 2: metrics(60, res4=30, res5=44)},
        "gain": {
            3: metrics(90, res5=9),
            2: metrics(63, res5=45),
            1: metrics(51, res5=44),
        },
    }
    base, gain = summarize([VARIANTS["single"], base, gain], by_variant)
    # half of the interval of two values: 12.706 deviations / sqrt(2)
    spread = (55, pytest.approx(50**0.5), pytest.approx(12.7062 * 5, rel=1e-5))
    assert (base.spread["search"]["mAP"], base.change) == (spread, None)
    assert list(gain.runs) == [1, 2, 3] and gain.spread["search"]["mAP"].mean == 68
    assert gain.change_seeds == [1, 2], "the third seed has no counterpart"
    assert gain.change["search"]["mAP"][:2] == (2, pytest.approx(2**0.5))
    assert gain.change["level"]["res5"][:2] == (2.5, pytest.approx(4.5**0.5))
    assert list(gain.change["level"]) == ["res5"]
    # of three values: 4.302653 deviations / sqrt(3)
    three = gain.spread["search"]["mAP"]
    assert three.margin == pytest.approx(4.302653 * three.deviation / 3**0.5, rel=1e-5)
