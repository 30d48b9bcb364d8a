"""Search metrics: hand-worked cases, a reference, edge cases."""

import math

import numpy as np
import pytest

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
)
from tests.support.evaluation_cases import (
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


def test_protocols_of_different_images_are_refused():
    predictions = make_predictions([(BOX, 0.9)], [(BOX, 0.9)])
    protocols = [make_protocol([*"ab"], [(0, [0], [])]), make_protocol([*"ba"], [(0, [0], [])])]
    with pytest.raises(InputError, match="'made' and 'made' have different images"):
        evaluate_protocols(predictions, protocols)


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
