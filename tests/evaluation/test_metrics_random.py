"""Search metrics on random cases: a reference, orders, protocols together, ties."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from clsa_search.evaluation import (
    Predictions,
    evaluate_chance,
    evaluate_detection,
    evaluate_protocols,
    evaluate_search,
    full_gallery_protocol,
    rank_galleries,
    ranking,
)
from clsa_search.structures import Ragged
from tests.support import reference_metrics
from tests.support.evaluation_cases import (
    generate_dataset,
    generate_protocol,
    make_image,
    replace_detections,
)

BOX = (0, 0, 40, 80)


@pytest.mark.parametrize("seed", range(40))
def test_search_agrees_with_the_reference(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    records, predictions = generate_dataset(rng)
    protocol = full_gallery_protocol(records) if seed % 2 else generate_protocol(rng, records)
    monkeypatch.setattr(ranking, "QUERIES_PER_CHUNK", 1)
    monkeypatch.setattr(ranking, "SIMILARITIES_PER_CHUNK", 100)  # several chunks
    result = evaluate_search(predictions, protocol, device="cpu")
    columns = result.average_precision, result.first_rank, result.targets, result.found
    expected = reference_metrics.search(predictions, protocol, 0.5)
    np.testing.assert_allclose(np.stack(columns, axis=1), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_protocols_together_give_the_results_of_each_alone(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    records, predictions = generate_dataset(rng)
    full = full_gallery_protocol(records)
    some = rng.permutation(full.query_ids)[:3].tolist()
    protocols = [full, full.select(some), *(generate_protocol(rng, records) for _ in range(3))]
    protocols[-1] = replace(protocols[-1], unsearched=rng.integers(0, 3, len(full.query_ids)))
    monkeypatch.setattr(ranking, "QUERIES_PER_CHUNK", 1)
    monkeypatch.setattr(ranking, "SIMILARITIES_PER_CHUNK", 100)
    results = evaluate_protocols(predictions, protocols, device="cpu")
    for protocol, result in zip(protocols, results, strict=True):
        assert result.query_ids.tolist() == protocol.query_ids.tolist()
        columns = result.average_precision, result.first_rank, result.targets, result.found
        expected = np.array(reference_metrics.search(predictions, protocol, 0.5))
        np.testing.assert_allclose(np.stack(columns, axis=1), expected, rtol=0, atol=1e-9)


def test_both_ways_to_count_agree():
    """Sorting whole chunks, for GPUs, and single rows, for CPUs, give the same counts."""
    rng = np.random.default_rng(0)
    values = torch.from_numpy(rng.integers(0, 9, (5, 30)) / 8)
    images = torch.from_numpy(rng.integers(0, 7, 30))
    listings = rng.integers(0, 3, (5, 7)).astype(np.int16)
    bounds = torch.from_numpy(rng.integers(0, 9, (5, 4)) / 8)
    bounds[0, 1:3] = bounds[1] = -math.inf
    counted = ranking.count_at_least(values, images, listings, bounds)
    times = torch.from_numpy(listings)[:, images]
    literal = ((values[:, :, None] >= bounds[:, None]) * times[:, :, None]).sum(dim=1)
    literal[bounds == -math.inf] = 0
    assert counted.equal(literal)
    assert ranking.count_batched(values, times, bounds).equal(literal)


def test_random_cases_cover_every_special_case():
    """Otherwise the agreement with the reference would prove little."""
    seen = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        records, predictions = generate_dataset(rng)
        protocol = generate_protocol(rng, records)
        counts, detections = predictions.detections.lengths, predictions.detections.values
        seen |= {"image without detections"} if (counts == 0).any() else set()
        seen |= {"image without people"} if any(not r["annotations"] for r in records) else set()
        seen |= {"score below threshold"} if (detections.scores < 0.5).any() else set()
        seen |= {"score at threshold"} if (detections.scores == 0.5).any() else set()
        for q in range(len(protocol.query_ids)):
            gallery = protocol.galleries.row(q)
            targets, boxes = protocol.targets.row(q).images, protocol.targets.row(q).boxes
            _, rows = predictions.detections.expand(gallery)
            values = detections.embeddings[rows] @ predictions.queries.embeddings[q]
            seen |= {"image listed twice"} if len(set(gallery)) < len(gallery) else set()
            seen |= {"identity twice in an image"} if len(set(targets)) < len(targets) else set()
            seen |= {"no target"} if len(targets) == 0 else set()
            seen |= {"tie"} if len(set(values)) < len(set(rows)) else set()
            seen |= {"fewer than ten results"} if len(rows) < 10 else set()
            seen |= {"tiny target"} if (np.diff(boxes[:, ::2]) < 10).any() else set()
    assert len(seen) == 10


def shuffle(predictions, rng):
    """Return the predictions with images, detections and queries in another order."""
    order = rng.permutation(len(predictions.image_ids))
    offsets = predictions.detections.offsets
    rows = [rng.permutation(np.arange(*offsets[i : i + 2])) for i in order]
    return replace(
        predictions,
        image_ids=predictions.image_ids[order],
        detections=Ragged.from_lengths(
            predictions.detections.values[np.concatenate(rows)], [len(mine) for mine in rows]
        ),
        queries=predictions.queries[rng.permutation(len(predictions.queries))],
    )


@pytest.mark.parametrize("seed", range(5))
def test_order_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    records, predictions = generate_dataset(rng)
    shuffled = shuffle(predictions, rng)
    protocol = full_gallery_protocol(records)
    other = full_gallery_protocol([records[i] for i in rng.permutation(len(records))])
    expected = evaluate_search(predictions, protocol, device="cpu")
    result = evaluate_search(shuffled, other, device="cpu")
    assert result.per_query() == expected.per_query()
    assert evaluate_detection(shuffled, records[::-1]) == evaluate_detection(predictions, records)


def test_chance_does_not_depend_on_the_order_of_images():
    rng = np.random.default_rng(0)
    records, predictions = generate_dataset(rng)
    images = rng.permutation(len(records))
    embeddings = predictions.detections.values.embeddings
    outputs = replace_detections(predictions, embeddings=rng.permutation(embeddings))
    protocol = full_gallery_protocol(records)
    chance = evaluate_chance(predictions, protocol, device="cpu")
    shuffled = predictions.align(
        predictions.image_ids[images], predictions.queries.ids[::-1], score_threshold=0
    )
    assert evaluate_chance(shuffled, protocol, device="cpu") == chance
    assert (
        evaluate_chance(outputs, protocol, device="cpu") == chance
    )  # independent of the embeddings


@pytest.mark.parametrize("seed", range(5))
def test_rank_gallery_agrees_with_the_metrics(seed):
    records, predictions = generate_dataset(np.random.default_rng(seed))
    protocol = full_gallery_protocol(records)
    rows = evaluate_search(predictions, protocol, device="cpu").per_query()[::-1]
    ranked = rank_galleries(predictions, protocol, [row["query_id"] for row in rows], top=10**6)
    for row, matches in zip(rows, ranked, strict=True):
        assert sum(match.correct for match in matches) == row["found"]
        results = [(match.similarity, match.correct) for match in matches]
        assert reference_metrics.first_rank(results) == row["first_rank"]


@pytest.mark.parametrize("width", [8, 256])
def test_ties_stay_ties_for_any_number_of_queries(width, monkeypatch):
    """Products of single rows or odd numbers of rows round differently from full blocks."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((301, width), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    queries = rows[:7] + rows[7:14]
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    given = [(q, BOX, embedding) for q, embedding in enumerate(queries)]
    images = {"a": make_image([(BOX, 0.9, row) for row in rows], given, width)}
    predictions = Predictions.from_images(images)
    device = torch.device("cpu")
    ((_, together),) = ranking.iterate_similarities(predictions, None, device)
    for size in (1, 2, 3, 5):
        monkeypatch.setattr(ranking, "QUERIES_PER_CHUNK", 1)
        monkeypatch.setattr(ranking, "SIMILARITIES_PER_CHUNK", size * len(rows))
        found = ranking.iterate_similarities(predictions, None, device)
        chunks = [part.clone() for _, part in found]
        assert len(chunks) == math.ceil(7 / size)
        assert torch.cat(chunks).equal(together)
