"""Re-ranking and options: hand-worked cases, references, limits."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from clsa_search.errors import InputError
from clsa_search.evaluation import (
    CBGM,
    KReciprocal,
    Predictions,
    SearchOptions,
    evaluate_search,
    full_gallery_protocol,
    rank_galleries,
)
from clsa_search.evaluation.cbgm import match_best
from tests.support import reference_metrics
from tests.support.evaluation_cases import (
    generate_dataset,
    generate_protocol,
    make_image,
    make_protocol,
)
from tests.support.reference_reranking import make_cbgm, make_k_reciprocal, match_all


def compare(predictions, protocol, options, reference_options):
    result = evaluate_search(predictions, protocol, SearchOptions(**options), device="cpu")
    columns = result.average_precision, result.first_rank, result.targets, result.found
    expected = reference_metrics.search(predictions, protocol, 0.5, **reference_options)
    np.testing.assert_allclose(np.stack(columns, axis=1), expected, rtol=0, atol=1e-9)


def generate_case(seed):
    rng = np.random.default_rng(seed)
    records, predictions = generate_dataset(rng)
    # in the order of the protocol's images, for the order of ties
    predictions = predictions.align(
        np.array([record["image_id"] for record in records]),
        predictions.queries.ids,
        score_threshold=0,
    )
    return predictions, full_gallery_protocol(records) if seed % 2 else generate_protocol(
        rng, records
    )


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (3, 2), (10, 3), (30, 4)])
def test_cbgm_agrees_with_the_reference(seed, weighted, k1, k2):
    predictions, protocol = generate_case(seed)
    reference = {"weight_by_score": weighted, "rerank": make_cbgm(k1, k2, 0.5)}
    compare(
        predictions, protocol, {"weight_by_score": weighted, "reranker": CBGM(k1, k2)}, reference
    )


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("parameters", [(20, 6, 0.3, 200), (3, 1, 0.0, 8), (5, 2, 1.0, 4)])
def test_k_reciprocal_agrees_with_the_reference(seed, weighted, parameters):
    predictions, protocol = generate_case(seed)
    reference = {"weight_by_score": weighted, "rerank": make_k_reciprocal(*parameters)}
    reranker = KReciprocal(*parameters)
    compare(predictions, protocol, {"weight_by_score": weighted, "reranker": reranker}, reference)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_weighting_by_score_agrees_with_the_reference(seed, weighted):
    predictions, protocol = generate_case(seed)
    options = {"weight_by_score": weighted}
    compare(predictions, protocol, options, options)


def test_options_change_the_results():
    """Otherwise the agreement with the reference would prove little."""
    changed = {"weight_by_score": 0, "cbgm": 0, "k_reciprocal": 0}
    for seed in range(20):
        predictions, protocol = generate_case(seed)
        plain = evaluate_search(predictions, protocol).per_query()
        for name, options in {
            "weight_by_score": {"weight_by_score": True},
            "cbgm": {"reranker": CBGM(10, 3)},
            "k_reciprocal": {"reranker": KReciprocal()},
        }.items():
            result = evaluate_search(predictions, protocol, SearchOptions(**options))
            changed[name] += result.per_query() != plain
    assert min(changed.values()) >= 10


@pytest.mark.parametrize("seed", range(30))
def test_matching_agrees_with_all_permutations(seed):
    rng = np.random.default_rng(seed)
    rows, columns = int(rng.integers(1, 5)), int(rng.integers(4, 7))
    edges = rng.integers(-3, 3, (8, rows, columns)) / 4  # equal sums are common
    largest, column = match_best(torch.from_numpy(edges), torch.ones(edges.shape, dtype=bool))
    expected = [match_all(one.tolist()) for one in edges]
    assert list(zip(largest.tolist(), column.tolist(), strict=True)) == expected


def one_hot(*values):
    return np.eye(6)[list(values)]


def test_a_companion_helps_to_find_the_query():
    # a contains a person a little more similar; b contains the query's person and a companion
    query, companion, other, _, _, _ = np.eye(6)
    similar = 0.6 * query + 0.8 * other
    person = 0.5 * query + math.sqrt(0.75) * one_hot(3)[0]
    box, beside, far = (0, 0, 10, 20), (20, 0, 30, 20), (40, 0, 50, 20)
    images = {
        "a": make_image([(box, 0.9, similar)], width=6),
        "b": make_image([(box, 0.9, person), (beside, 0.9, companion)], width=6),
        "q": make_image([(box, 0.99, query), (far, 0.9, companion)], [(0, box, query)], width=6),
    }
    predictions = Predictions.from_images(images)
    protocol = make_protocol(["a", "b", "q"], [(0, [0, 1], [(1, box)])])
    assert evaluate_search(predictions, protocol).first_rank == 2
    options = SearchOptions(reranker=CBGM(k1=10, k2=2))
    assert evaluate_search(predictions, protocol, options).first_rank == 1
    (best,) = rank_galleries(predictions, protocol, [0], options)
    assert [(m.image_id, m.correct) for m in best] == [("b", True), ("a", False), ("b", False)]
    # in b the companion's, the most similar; in a the query's own, without a companion
    assert [m.similarity for m in best] == pytest.approx([1, 0.6, 0])
    # k1 = 1 matches only the image of the most similar detection, without a companion
    only_a = evaluate_search(predictions, protocol, SearchOptions(reranker=CBGM(k1=1, k2=2)))
    assert only_a.first_rank == 2
    # weighted by the scores in the gallery, not by those around the query
    weighted = SearchOptions(weight_by_score=True, reranker=CBGM(k1=10, k2=2))
    (best,) = rank_galleries(predictions, protocol, [0], weighted)
    assert [m.similarity for m in best] == pytest.approx([0.9, 0.54, 0])


def test_common_neighbors_help_to_find_the_query():
    """a is similar to b and the query; c is more similar than b, but has neighbors of its own."""
    angles = {"a": 25, "b": 50, "c": -49, "d": -60, "e": -70}
    turned = {k: (math.cos(math.radians(v)), math.sin(math.radians(v))) for k, v in angles.items()}
    box = (0, 0, 10, 20)
    images = {name: make_image([(box, 0.9, embedding)]) for name, embedding in turned.items()}
    images["q"] = make_image(queries=[(0, box, (1, 0))])
    predictions = Predictions.from_images(images)
    protocol = make_protocol(sorted(images), [(0, [0, 1, 2, 3, 4], [(1, box)])])
    assert evaluate_search(predictions, protocol).first_rank == 3
    reranker = KReciprocal(k1=2, k2=1, weight=0.1)
    options = SearchOptions(reranker=reranker)
    assert evaluate_search(predictions, protocol, options).first_rank == 2
    (best,) = rank_galleries(predictions, protocol, [0], options)
    assert [match.image_id for match in best][:3] == ["a", "b", "c"]
    # detections below the depth keep their order after the others
    options = SearchOptions(reranker=replace(reranker, depth=1))
    (shallow,) = rank_galleries(predictions, protocol, [0], options)
    assert [match.image_id for match in shallow] == [*"acbde"]


def test_rerankers_accept_galleries_without_detections():
    box = (0, 0, 10, 20)
    images = {"a": make_image(), "q": make_image(queries=[(0, box, (1, 0))])}
    protocol = make_protocol(["a", "q"], [(0, [0], [(0, box)])])
    for reranker in (CBGM(10, 3), KReciprocal()):
        options = SearchOptions(reranker=reranker)
        result = evaluate_search(Predictions.from_images(images), protocol, options)
        assert (result.targets, result.found, result.first_rank) == (1, 0, 0)


def test_errors_name_wrong_parameters():
    for k1, k2 in ((0, 3), (10, 0), (10, 6)):
        with pytest.raises(InputError, match=f"CBGM: k1, k2 are {k1}, {k2}; expected"):
            CBGM(k1, k2)
    for parameters in ((0, 6, 0.3, 9), (20, 0, 0.3, 9), (20, 6, 1.1, 9), (20, 6, 0.3, 0)):
        with pytest.raises(InputError, match="k-reciprocal re-ranking: .* expected"):
            KReciprocal(*parameters)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan, math.inf])
def test_errors_name_options_out_of_range(threshold):
    with pytest.raises(InputError, match=f"score_threshold is {threshold}; expected a number from"):
        SearchOptions(score_threshold=threshold)
    with pytest.raises(InputError, match="compat is 'nae'; expected None or one of seqnet"):
        SearchOptions(compat="nae")


def test_options_are_described_for_json():
    assert SearchOptions(reranker=CBGM(10, 3)).describe() == {
        "score_threshold": 0.5,
        "weight_by_score": False,
        "reranker": {"name": "CBGM", "k1": 10, "k2": 3},
        "compat": None,
    }
    assert SearchOptions(compat="seqnet").describe()["weight_by_score"]
