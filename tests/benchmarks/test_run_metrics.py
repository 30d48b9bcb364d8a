"""The ablation's figures: of a run, of its levels, and of rows over seeds."""

import statistics

import numpy as np
import pytest

from benchmarks.ablation import (
    VARIANTS,
    Variant,
    compare_levels,
    evaluate_run,
    split_levels,
    summarize,
)
from clsa_search.data import get_records
from clsa_search.evaluation import full_gallery_protocol, save_predictions
from tests.support import reference_metrics
from tests.support.ablation_cases import LEVELS, WIDTH, make_predictions
from tests.support.evaluation_cases import draw_dataset, draw_protocol, replace_detections


@pytest.mark.parametrize("seed", range(8))
def test_levels_are_compared_as_one_would_by_hand(seed):
    rng = np.random.default_rng(seed)
    records, predictions = draw_dataset(rng)
    protocol = full_gallery_protocol(records) if seed % 2 else draw_protocol(rng, records)
    count, width = 3, 4
    embeddings, queries = (
        rng.standard_normal((len(rows), count * width)).astype(np.float32)
        for rows in (predictions.detections.values, predictions.queries)
    )
    parts = split_levels(predictions.replace_embeddings(embeddings, queries), LEVELS, width)
    agreement, correlation = compare_levels(list(parts.values()), protocol)
    best, pairs = [], []
    for q, query_id in enumerate(protocol.query_ids.tolist()):
        query = queries[predictions.queries.ids.tolist().index(query_id)].reshape(count, width)
        mine = []
        for image in protocol.galleries.row(q):
            row = predictions.image_ids.tolist().index(protocol.image_ids[image])
            for d in range(*predictions.detections.offsets[row : row + 2]):
                if predictions.detections.values.scores[d] >= 0.5:
                    sims = (embeddings[d].reshape(count, width) * query).sum(axis=1)
                    mine.append((sims.tolist(), d))
        pairs += [sims for sims, _ in mine]
        if mine:
            best.append([max(mine, key=lambda entry: entry[0][i])[1] for i in range(count)])
    for i in range(count):
        for j in range(count):
            same = statistics.mean(row[i] == row[j] for row in best)
            assert agreement[i, j] == pytest.approx(same)
    np.testing.assert_allclose(correlation, np.corrcoef(np.array(pairs).T), atol=1e-6)


def test_figures_of_a_run(tiny_data, tmp_path):
    """Every figure, against the literal reference or simple arithmetic."""
    dataset = tiny_data / "gallery.json"
    predictions = make_predictions(dataset, 3)
    save_predictions(predictions, tmp_path / "predictions.npz")
    figures = evaluate_run(tmp_path, str(dataset), LEVELS, WIDTH)
    protocol = full_gallery_protocol(get_records(str(dataset)))

    def search(predictions):
        return [row[0] for row in reference_metrics.search(predictions, protocol, 0.5)]

    assert figures["search"]["mAP"] == pytest.approx(100 * statistics.mean(search(predictions)))
    upper = statistics.mean(search(predictions.use_ground_truth()))
    assert figures["gt_boxes"]["mAP"] == pytest.approx(100 * upper)
    assert figures["gt_boxes"]["mAP"] != figures["search"]["mAP"]
    for place, level in enumerate(LEVELS):
        columns = slice(place * WIDTH, (place + 1) * WIDTH)
        alone = predictions.replace_embeddings(
            predictions.detections.values.embeddings[:, columns],
            predictions.queries.embeddings[:, columns],
        )
        assert figures["level"][level] == pytest.approx(100 * statistics.mean(search(alone)))
    assert len({round(value, 3) for value in figures["level"].values()}) == 3
    targets = len(protocol.targets.values)
    assert sum(figures["targets_by_scale_ratio"].values()) == targets
    assert sum(figures["targets_by_target_height"].values()) == targets
    assert list(figures["agreement"]) == ["res3, res4", "res3, res5", "res4, res5"]
    assert 0 < figures["correlation"]["res4, res5"] < 1


def test_nobody_found_is_an_ordinary_answer(tiny_data, tmp_path):
    dataset = tiny_data / "gallery.json"
    predictions = make_predictions(dataset, 3)
    predictions = replace_detections(predictions, scores=predictions.detections.values.scores * 0.4)
    save_predictions(predictions, tmp_path / "predictions.npz")
    figures = evaluate_run(tmp_path, str(dataset), LEVELS, WIDTH)
    assert figures["search"]["mAP"] == 0
    assert np.isnan([*figures["agreement"].values(), *figures["correlation"].values()]).all()


def test_differences_are_paired_by_hand():
    def figures(value, **levels):
        return {"search": {"mAP": value}, "level": levels}

    rows = [VARIANTS["single"], Variant("base", "", {}, "base"), Variant("gain", "", {}, "base")]
    found = {
        "base": {1: figures(50, res4=20, res5=40), 2: figures(60, res4=30, res5=44)},
        "gain": {3: figures(90, res5=9), 2: figures(63, res5=45), 1: figures(51, res5=44)},
    }
    base, gain = summarize(rows, found)
    assert (base.spread["search"]["mAP"], base.change) == ((55, pytest.approx(50**0.5)), None)
    assert list(gain.runs) == [1, 2, 3] and gain.spread["search"]["mAP"].mean == 68
    assert gain.change_seeds == [1, 2], "the third seed has no counterpart"
    assert gain.change["search"]["mAP"] == (2, pytest.approx(2**0.5))
    assert gain.change["level"] == {"res5": (2.5, pytest.approx(4.5**0.5))}
