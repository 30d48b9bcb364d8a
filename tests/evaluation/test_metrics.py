"""Search metrics: hand-worked cases, a reference, edge cases."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from clsa_search.errors import InputError
from clsa_search.evaluation import (
    Predictions,
    SearchOptions,
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
    make_protocol,
    make_record,
    replace_detections,
)

BOX, ELSEWHERE = (0, 0, 40, 80), (100, 0, 140, 80)
QUERY = (0, BOX, (1, 0))


def at(similarity):
    """Return a unit embedding with the given similarity to the query."""
    return similarity, math.sqrt(1 - similarity**2)


def make_predictions(*images):
    """Images "a", "b", ... with detections (box, similarity), and an image with the query."""
    outputs = {
        name: make_image([(box, 0.9, at(similarity)) for box, similarity in detections])
        for name, detections in zip("abcdefgh", images, strict=False)
    }
    return Predictions.from_images(outputs | {"query": make_image(queries=[QUERY])})


def search_all(predictions, targets, **options):
    """Search all images but the query's; the person is at BOX in the images named in `targets`."""
    images = predictions.image_ids.tolist()
    gallery = [i for i, name in enumerate(images) if name != "query"]
    protocol = make_protocol(images, [(0, gallery, [(images.index(t), BOX) for t in targets])])
    return evaluate_search(predictions, protocol, SearchOptions(**options), device="cpu")


def test_average_precision_by_hand():
    # ranking: a right, b wrong, c right, d wrong; precision 1/1 at recall 1/2, 2/3 at recall 1
    predictions = make_predictions([(BOX, 0.9)], [(BOX, 0.8)], [(BOX, 0.7)], [(BOX, 0.6)])
    result = search_all(predictions, "ac")
    assert result.average_precision == pytest.approx([0.5 * 1 + 0.5 * 2 / 3], abs=1e-12)
    assert (result.first_rank, result.targets, result.found) == (1, 2, 2)


def test_a_missed_target_costs_recall():
    # as above, with the person also in e and no detection there: AP times recall 2/3
    predictions = make_predictions([(BOX, 0.9)], [(BOX, 0.8)], [(BOX, 0.7)], [(BOX, 0.6)], [])
    result = search_all(predictions, "ace")
    assert result.average_precision == pytest.approx([2 / 3 * (0.5 + 0.5 * 2 / 3)], abs=1e-12)
    assert (result.targets, result.found) == (3, 2)


def test_only_the_most_similar_detection_on_the_target_is_right():
    # both of a's detections lie on the person; b is wrong: right, wrong, wrong
    predictions = make_predictions([(BOX, 0.7), ((0, 0, 40, 78), 0.9)], [(BOX, 0.8)])
    assert search_all(predictions, "a").average_precision == pytest.approx([1.0])
    # the positive in c has rank 4: 1/2 * (1/1 + 2/4)
    predictions = make_predictions([(BOX, 0.7), ((0, 0, 40, 78), 0.9)], [(BOX, 0.8)], [(BOX, 0.6)])
    assert search_all(predictions, "ac").average_precision == pytest.approx([0.75], abs=1e-12)


def test_top_k_counts_ranks():
    predictions = make_predictions([(BOX, 0.9)], [(BOX, 0.8)], [(BOX, 0.7)], [(BOX, 0.6)])
    result = search_all(predictions, "d")
    assert result.first_rank == 4
    assert result.metrics(top_k=(1, 3, 4, 100)) == {
        "mAP": pytest.approx(25),
        "top1": 0,
        "top3": 0,
        "top4": 100,
        "top100": 100,
    }


def test_ties_enter_together():
    # two ties, one right: 1/2 at recall 1; after its tie for top-k, in any order
    first, last = (
        make_predictions([(BOX, 0.5)], [(BOX, 0.5)]),
        make_predictions([(BOX, 0.5)], [(BOX, 0.5)]),
    )
    for result in (search_all(first, "a"), search_all(last, "b")):
        assert result.average_precision == pytest.approx([0.5])
        assert result.first_rank == 2
    # two right and one wrong, all tied: 2/3 at once, and the wrong one comes first
    result = search_all(make_predictions(*[[(BOX, 0.5)]] * 3), "ac")
    assert result.average_precision == pytest.approx([2 / 3])
    assert result.first_rank == 2
    # two right ties: the first rank is right
    assert search_all(make_predictions([(BOX, 0.5)], [(BOX, 0.5)]), "ab").first_rank == 1


@pytest.mark.parametrize(
    ("side", "found_side", "is_found"),
    [
        (10, 20, True),  # IoU 100/400, exactly the threshold of a 10 x 10 box
        (10, 20.5, False),
        (40, 56, True),  # IoU 0.51; the threshold is 0.5, not 1600/2500
        (40, 57, False),  # IoU 0.49
    ],
)
def test_small_targets_need_less_overlap(side, found_side, is_found):
    predictions = make_predictions([((0, 0, found_side, found_side), 0.9)])
    protocol = make_protocol(["a"], [(0, [0], [(0, (0, 0, side, side))])])
    assert bool(evaluate_search(predictions, protocol, device="cpu").found[0]) == is_found


def test_identity_twice_in_an_image_is_one_target():
    # a has two detections on the person: the best is right, the other wrong; b comes third
    both = [(0, BOX), (0, ELSEWHERE)]
    predictions = make_predictions([(BOX, 0.7), (ELSEWHERE, 0.9)], [(BOX, 0.6)])
    protocol = make_protocol(["a", "b"], [(0, [0, 1], [*both, (1, BOX)])])
    result = evaluate_search(predictions, protocol, device="cpu")
    assert (result.targets, result.found) == (2, 2)
    assert result.average_precision == pytest.approx([0.5 * 1 + 0.5 * 2 / 3], abs=1e-12)


def test_image_listed_twice_counts_twice():
    # b's wrong detection comes before a's right one: twice wrong, twice right
    predictions = make_predictions([(BOX, 0.7)], [(BOX, 0.9)], [(BOX, 0.8)])
    protocol = make_protocol(["a", "b", "c"], [(0, [0, 1, 1, 0, 2], [(0, BOX)])])
    result = evaluate_search(predictions, protocol, device="cpu")
    assert (result.targets, result.found, result.first_rank) == (2, 2, 4)
    assert result.average_precision == pytest.approx([2 / 5], abs=1e-12)


def test_detections_below_the_threshold_are_dropped():
    predictions = make_predictions([(BOX, 0.9)], [(BOX, 0.8)])
    scores = np.array([0.4, 0.5], dtype=np.float32)
    predictions = replace_detections(predictions, scores=scores)
    assert search_all(predictions, "b").first_rank == 1
    assert search_all(predictions, "b", score_threshold=0.3).first_rank == 2


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


def test_protocols_of_different_images_are_refused():
    predictions = make_predictions([(BOX, 0.9)], [(BOX, 0.9)])
    protocols = [make_protocol([*"ab"], [(0, [0], [])]), make_protocol([*"ba"], [(0, [0], [])])]
    with pytest.raises(InputError, match="'made' and 'made' have different images"):
        evaluate_protocols(predictions, protocols)


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


def test_no_detections():
    predictions = Predictions.from_images({"a": make_image(), "q": make_image(queries=[QUERY])})
    records = [make_record("a", [(BOX, 0)]), make_record("q", queries=[(0, BOX, 0)])]
    protocol = full_gallery_protocol(records)
    zeros = {"mAP": 0, "top1": 0, "top5": 0, "top10": 0}
    assert evaluate_search(predictions, protocol).metrics() == zeros
    assert evaluate_chance(predictions, protocol) == zeros
    assert rank_galleries(predictions, protocol, [0]) == [[]]
    assert evaluate_detection(predictions, records) == {"recall": 0, "AP": 0}


def test_no_targets():
    predictions = make_predictions([(BOX, 0.9)])
    result = search_all(predictions, "")
    assert result.metrics() == {"mAP": 0, "top1": 0, "top5": 0, "top10": 0}
    assert (result.targets, result.found, result.first_rank) == (0, 0, 0)
    detected = evaluate_detection(predictions, [make_record("a")])
    assert all(math.isnan(value) for value in detected.values())


def test_no_queries():
    predictions = Predictions.from_images({"a": make_image([(BOX, 0.9, (1, 0))])})
    protocol = full_gallery_protocol([make_record("a", [(BOX, 0)])])
    result = evaluate_search(predictions, protocol)
    assert result.per_query() == []
    assert all(math.isnan(value) for value in result.metrics().values())
    assert all(math.isnan(value) for value in evaluate_chance(predictions, protocol).values())


def test_no_images():
    predictions, protocol = Predictions.from_images({}), full_gallery_protocol([])
    assert evaluate_search(predictions, protocol).per_query() == []
    assert math.isnan(evaluate_detection(predictions, [])["recall"])


def test_chance_is_the_expected_value():
    # one right among four in each gallery: the mean of 1/rank over ranks 1..4 is 0.52
    images = {name: make_image([(BOX, 0.9, (1, 0))]) for name in "abcd"}
    queries = [(q, BOX, (1, 0)) for q in range(300)]
    predictions = Predictions.from_images(images | {"query": make_image(queries=queries)})
    protocol = make_protocol([*"abcd"], [(q, [0, 1, 2, 3], [(q % 4, BOX)]) for q in range(300)])
    chance = evaluate_chance(predictions, protocol)
    assert chance["mAP"] == pytest.approx(100 * (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, abs=5)
    assert chance["top1"] == pytest.approx(25, abs=5)
    assert chance["top5"] == 100


def test_rank_gallery_lists_the_best_first():
    predictions = make_predictions(
        [(BOX, 0.7), ((0, 0, 40, 78), 0.9)], [(BOX, 0.8)], [(BOX, 0.6)], [(ELSEWHERE, 0.8)]
    )
    protocol = make_protocol(
        predictions.image_ids, [(0, [3, 0, 1, 2], [(0, BOX), (2, BOX), (3, BOX)])]
    )
    (best,) = rank_galleries(predictions, protocol, [0], top=4)
    assert [(match.image_id, match.correct) for match in best] == [
        ("a", True),
        ("d", False),  # tied with b's, and earlier in the gallery
        ("b", False),
        ("a", False),  # on the person, but not the best there
    ]
    assert [match.similarity for match in best] == pytest.approx([0.9, 0.8, 0.8, 0.7])
    np.testing.assert_array_equal(best[0].box, (0, 0, 40, 78))
    assert len(rank_galleries(predictions, protocol, [0])[0]) == 5


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


def test_errors_name_missing_images_and_queries():
    predictions = make_predictions([(BOX, 0.9)])
    with pytest.raises(InputError, match="image_ids: 'b' is missing"):
        evaluate_search(predictions, make_protocol(["a", "b"], [(0, [0, 1], [])]))
    with pytest.raises(InputError, match="query_ids: 7 is missing"):
        evaluate_search(predictions, make_protocol(["a"], [(7, [0], [])]))
    with pytest.raises(InputError, match="query 3 is not in protocol 'made'"):
        rank_galleries(predictions, make_protocol(["a"], [(0, [0], [])]), [3])
    with pytest.raises(InputError, match="image_ids: 'z' is missing"):
        evaluate_detection(predictions, [make_record("z")])


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
