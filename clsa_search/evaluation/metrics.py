"""How well people are found, with the semantics of OIM, NAE, SeqNet, COAT and GFN.

For a query, keep the detections of its gallery with a score of at least the threshold; their
similarity is the dot product of their embedding with the query's. In each gallery image that holds
the person, *the* positive is the most similar detection that lies on the person's box, with
IoU >= min(0.5, w*h / ((w + 10) * (h + 10))) for a box of w x h. Every other detection of every
gallery image is a negative. Average precision is scikit-learn's, step by step over the detections,
times the recall: positives found / gallery images that hold the person. Top-k is 1 if a positive is
among the k most similar. mAP and top-k are means over all queries.

Where that leaves a choice:

- Ties. Detections that are equally similar enter together, as in scikit-learn: each has the
  precision after the last of them. For top-k a positive stands behind the negatives that equal it.
  So no metric depends on the order of images or of detections, as far as the product of float32
  embeddings gives equal ones equal similarities. Queries are multiplied in full blocks for that,
  which MKL answers alike, whatever the block; another library may still round them apart.
- An image with the person's identity on two boxes holds the person once: its positive is the most
  similar detection on either box, the others are negatives.
- An image that a gallery lists twice counts twice: its detections, and the person in it.
- The query's own image is in the gallery if, and only if, the protocol lists it.
- A query whose person is nowhere in its gallery has average precision 0 and stays in the mean.
- Without queries the metrics are NaN; without detections all are 0.

`SearchOptions` change that, each off by default.

Shape letters: Q queries, M detections.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from clsa_search.errors import InputError
from clsa_search.evaluation.box_matching import is_best
from clsa_search.evaluation.positive_ranks import (
    PositiveRanks,
    average_precision,
    count_sightings,
    first_rank,
)
from clsa_search.evaluation.predictions import Predictions, expand_ranges
from clsa_search.evaluation.protocol import SearchProtocol
from clsa_search.evaluation.ranking import (
    count_listings,
    find_candidates,
    iterate_similarities,
    rank_holders,
)
from clsa_search.evaluation.search_options import DEFAULTS, SearchOptions

TOP_K = (1, 5, 10)
_CHANCE_WIDTH = 16  # of the random embeddings; any width ranks at random


@dataclass(frozen=True)
class SearchResult:
    """What each query (Q) found. `metrics` and `per_query` give it as numbers for people."""

    protocol: str
    query_ids: np.ndarray  # (Q,) int64
    average_precision: np.ndarray  # (Q,) float64 in [0, 1], recall included
    first_rank: np.ndarray  # (Q,) int64 of the best positive from 1, ties as above; 0: none
    targets: np.ndarray  # (Q,) int64, gallery images that hold the person
    found: np.ndarray  # (Q,) int64, those of them with a positive
    sightings: PositiveRanks  # the same, image by image

    def metrics(self, top_k: Sequence[int] = TOP_K) -> dict[str, float]:
        """Means over the queries in percent: mAP, top<k>; NaN without queries."""
        values = {"mAP": self.average_precision}
        for k in top_k:
            values[f"top{k}"] = (self.first_rank > 0) & (self.first_rank <= k)
        return {name: _percent(value) for name, value in values.items()}

    def per_query(self) -> list[dict[str, float]]:
        """One dict a query, for JSON: the fields above, `query_ids` as `query_id`."""
        columns = {
            "query_id": self.query_ids,
            "average_precision": self.average_precision,
            "first_rank": self.first_rank,
            "targets": self.targets,
            "found": self.found,
        }
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]


class Match(NamedTuple):
    """A detection in a query's ranking."""

    image_id: str
    box: np.ndarray  # (4,) float32 XYXY pixels of the original image
    similarity: float
    correct: bool


def evaluate_search(
    predictions: Predictions,
    protocol: SearchProtocol,
    options: SearchOptions = DEFAULTS,
    *,
    device: torch.device | str | None = None,
) -> SearchResult:
    """Rank every query's gallery and compare with its targets; see `evaluate_protocols`."""
    return evaluate_protocols(predictions, [protocol], options, device=device)[0]


def evaluate_protocols(
    predictions: Predictions,
    protocols: Sequence[SearchProtocol],
    options: SearchOptions = DEFAULTS,
    *,
    device: torch.device | str | None = None,
) -> list[SearchResult]:
    """Several protocols of one dataset at little more than the cost of one.

    Args:
        predictions: of every image and query that the protocols name; others are left out.
        protocols: the queries, their galleries and targets; all with the same `image_ids`.
        options: how similarities are made.
        device: where to compute; by default a GPU if there is one.

    Raises:
        InputError: an image or a query of a protocol is missing, the protocols' images differ, or
            they are of another compatibility mode than the options.
    """
    return _search(_align(predictions, protocols, options), protocols, options, device)


def evaluate_chance(
    predictions: Predictions,
    protocol: SearchProtocol,
    options: SearchOptions = DEFAULTS,
    *,
    seeds: Iterable[int] = range(5),
    device: torch.device | str | None = None,
) -> dict[str, float]:
    """The metrics of the same detections with random embeddings, mean over the seeds.

    Arguments and errors are those of `evaluate_search`; of the options only the threshold counts,
    as neither weights nor a re-ranker make chance any better.
    """
    aligned = _align(predictions, [protocol], options)
    plain = SearchOptions(score_threshold=options.score_threshold)
    results = [
        _search(_scramble(aligned, seed), [protocol], plain, device)[0].metrics() for seed in seeds
    ]
    return {name: float(np.mean([result[name] for result in results])) for name in results[0]}


def rank_galleries(
    predictions: Predictions,
    protocol: SearchProtocol,
    query_ids: Sequence[int],
    options: SearchOptions = DEFAULTS,
    *,
    top: int = 10,
) -> list[list[Match]]:
    """The `top` most similar detections of the galleries of some queries, best first.

    Equally similar ones stay in the order of the gallery's images and of their detections.

    Raises:
        InputError: as for `evaluate_search`, or the protocol has no such query.
    """
    protocol = protocol.select(query_ids)
    aligned = _align(predictions, [protocol], options)
    rows = np.searchsorted(aligned.query_ids, protocol.query_ids)
    similarities = np.zeros((len(rows), len(aligned.scores)))
    weights = _weigh(aligned, options)
    for chunk, values in iterate_similarities(aligned, weights, torch.device("cpu")):
        (mine,) = np.nonzero((chunk.start <= rows) & (rows < chunk.stop))
        values = values[torch.from_numpy(rows[mine] - chunk.start)]
        if options.reranker is not None:
            listed = torch.from_numpy(_list_detections(aligned, protocol, mine))
            values = options.reranker(values, listed, aligned, rows[mine], weights)
        similarities[mine] = values.numpy()
    candidates = find_candidates(aligned, protocol)
    found = similarities[candidates.query, candidates.detection]
    best = is_best(
        candidates.query * len(aligned.image_ids) + candidates.place, -found, candidates.detection
    )
    correct = np.zeros(similarities.shape, dtype=bool)
    correct[candidates.query[best], candidates.detection[best]] = True
    return [
        _take_best(aligned, protocol, query, similarities[query], correct[query], top)
        for query in range(len(rows))
    ]


def _take_best(
    aligned: Predictions,
    protocol: SearchProtocol,
    query: int,
    similarities: np.ndarray,
    correct: np.ndarray,
    top: int,
) -> list[Match]:
    """The best of a row of the protocol, given its similarities and what is correct (M,)."""
    gallery = protocol.gallery_images[slice(*protocol.gallery_offsets[query : query + 2])]
    listing, rows = expand_ranges(aligned.offsets[gallery], np.diff(aligned.offsets)[gallery])
    order = np.argsort(-similarities[rows], kind="stable")[:top]
    names = aligned.image_ids[gallery[listing[order]]].tolist()
    return [
        Match(name, aligned.boxes[row], float(similarities[row]), bool(correct[row]))
        for name, row in zip(names, rows[order], strict=True)
    ]


def _list_detections(
    aligned: Predictions, protocol: SearchProtocol, queries: np.ndarray
) -> np.ndarray:
    """Which detections (B, M) are in the galleries of some rows of the protocol (B,)."""
    return np.repeat(count_listings(protocol, queries) > 0, np.diff(aligned.offsets), axis=1)


def _align(
    predictions: Predictions, protocols: Sequence[SearchProtocol], options: SearchOptions
) -> Predictions:
    """What is scored: the protocols' images and, ascending, the queries of any of them."""
    first = protocols[0]
    for protocol in protocols:
        if not np.array_equal(protocol.image_ids, first.image_ids):
            raise InputError(
                f"protocols {first.name!r} and {protocol.name!r} index different images; "
                "expected protocols of one dataset"
            )
        if protocol.compat != options.compat:
            raise InputError(
                f"protocol {protocol.name!r} is built for compat {protocol.compat!r}; "
                f"expected {options.compat!r}, that of the options (SearchOptions.build_protocol)"
            )
    query_ids = np.unique(np.concatenate([protocol.query_ids for protocol in protocols]))
    return predictions.align(first.image_ids, query_ids, score_threshold=options.score_threshold)


def _weigh(aligned: Predictions, options: SearchOptions) -> np.ndarray | None:
    """What similarities are multiplied by (M,); None leaves them alone."""
    return aligned.scores if options.weight_by_score else None


def _search(
    aligned: Predictions,
    protocols: Sequence[SearchProtocol],
    options: SearchOptions,
    device: torch.device | str | None,
) -> list[SearchResult]:
    sightings = rank_holders(
        aligned,
        protocols,
        [find_candidates(aligned, protocol) for protocol in protocols],
        weights=_weigh(aligned, options),
        reranker=options.reranker,
        device=torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")),
    )
    return [_sum_up(*pair) for pair in zip(protocols, sightings, strict=True)]


def _sum_up(protocol: SearchProtocol, sightings: PositiveRanks) -> SearchResult:
    count = len(protocol.query_ids)
    lost = np.zeros(count, dtype=np.int64) if protocol.lost is None else protocol.lost
    return SearchResult(
        protocol=protocol.name,
        query_ids=protocol.query_ids,
        average_precision=average_precision(sightings, count, lost=lost),
        first_rank=first_rank(sightings, count),
        targets=count_sightings(sightings, sightings.times, count) + lost,
        found=count_sightings(sightings, sightings.found, count),
        sightings=sightings,
    )


def _scramble(aligned: Predictions, seed: int) -> Predictions:
    """The predictions with random unit embeddings."""
    generator = np.random.default_rng(seed)

    def draw(count: int) -> np.ndarray:
        rows = generator.standard_normal((count, _CHANCE_WIDTH), dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    queries, detections = draw(len(aligned.query_ids)), draw(len(aligned.scores))
    return replace(aligned, query_embeddings=queries, features=detections)


def _percent(values: np.ndarray) -> float:
    return 100 * float(values.mean()) if len(values) else float("nan")
