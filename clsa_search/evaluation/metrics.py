"""Search metrics with the semantics of OIM, NAE, SeqNet, COAT and GFN.

The detections of a query's gallery count from the score threshold on; their similarity is the dot
product of their embedding with the query's. A gallery image with a ground-truth box of the query's
person is a target image. Its positive is the most similar detection on the person's box, with
IoU >= min(0.5, w*h / ((w + 10) * (h + 10))) for a box of w x h pixels. All other detections of all
gallery images are negatives. Average precision is scikit-learn's, step by step over the detections,
times the recall: positives / target images. Top-k is 1 if a positive is among the k most similar
detections. mAP and top-k are means over all queries.

Further choices:

- Ties. Equally similar detections enter together, as in scikit-learn: each has the precision after
  the last of them. For top-k a positive ranks after tied negatives. So no metric
  depends on the order of images or detections, as long as the product of float32 embeddings gives
  equal detections equal similarities. Queries are therefore multiplied in full blocks: MKL then
  rounds alike for every block, another library may not.
- A target image with two boxes of the person counts once: its positive is the most similar
  detection on either box, the others are negatives.
- A gallery image listed twice counts twice, with its detections and as a target.
- The query's own image is in the gallery only if the protocol lists it.
- A query without targets has average precision 0 and stays in the mean.
- Without queries the metrics are NaN; without detections all are 0.

`SearchOptions` change these semantics; each option is off by default.

Shape letters: Q queries, M detections.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from clsa_search.errors import InputError
from clsa_search.evaluation.positive_ranks import (
    PositiveRanks,
    average_precision,
    first_rank,
    sum_by_query,
)
from clsa_search.evaluation.predictions import Predictions
from clsa_search.evaluation.protocol import SearchProtocol
from clsa_search.evaluation.ranking import find_candidates, rank_positives
from clsa_search.evaluation.search_options import DEFAULTS, SearchOptions
from clsa_search.evaluation.search_result import SearchResult

_CHANCE_WIDTH = 16  # of the random embeddings; any width ranks at random


def evaluate_search(
    predictions: Predictions,
    protocol: SearchProtocol,
    options: SearchOptions = DEFAULTS,
    *,
    device: torch.device | str | None = None,
) -> SearchResult:
    """Compute the metrics of one protocol; see `evaluate_protocols`."""
    return evaluate_protocols(predictions, [protocol], options, device=device)[0]


def evaluate_protocols(
    predictions: Predictions,
    protocols: Sequence[SearchProtocol],
    options: SearchOptions = DEFAULTS,
    *,
    device: torch.device | str | None = None,
) -> list[SearchResult]:
    """Compute the metrics of several protocols at little more than the cost of one.

    Args:
        predictions: predictions of all images and queries of the protocols; others are ignored.
        protocols: protocols with the same `image_ids`.
        options: options of the similarities.
        device: device for the computation; None for a GPU if there is one.

    Raises:
        InputError: an image or a query of a protocol is missing, or the protocols have different
            images or another compatibility mode than the options.
    """
    return _search(align(predictions, protocols, options), protocols, options, device)


def evaluate_chance(
    predictions: Predictions,
    protocol: SearchProtocol,
    options: SearchOptions = DEFAULTS,
    *,
    seeds: Iterable[int] = range(5),
    device: torch.device | str | None = None,
) -> dict[str, float]:
    """Return the metrics of the same detections with random embeddings, mean over the seeds.

    Only the score threshold of the options counts: neither weights nor a re-ranker improve chance.

    Args:
        predictions: see `evaluate_protocols`.
        protocol: protocol to score.
        options: options of the similarities.
        seeds: seeds of the random embeddings.
        device: device for the computation; None for a GPU if there is one.

    Raises:
        InputError: see `evaluate_protocols`.
    """
    aligned = align(predictions, [protocol], options)
    plain = SearchOptions(score_threshold=options.score_threshold)
    results = [
        _search(_randomize(aligned, seed), [protocol], plain, device)[0].metrics() for seed in seeds
    ]
    return {name: float(np.mean([result[name] for result in results])) for name in results[0]}


def align(
    predictions: Predictions, protocols: Sequence[SearchProtocol], options: SearchOptions
) -> Predictions:
    """Return the predictions of the protocols' images, in their order, and of all their queries.

    Queries are in ascending order. Detections below the score threshold are dropped.

    Raises:
        InputError: see `evaluate_protocols`.
    """
    first = protocols[0]
    for protocol in protocols:
        if not np.array_equal(protocol.image_ids, first.image_ids):
            raise InputError(
                f"protocols {first.name!r} and {protocol.name!r} have different images; "
                "expected protocols of one dataset"
            )
        if protocol.compat != options.compat:
            raise InputError(
                f"protocol {protocol.name!r} is built for compat {protocol.compat!r}; "
                f"expected {options.compat!r}, as in the options (SearchOptions.build_protocol)"
            )
    query_ids = np.unique(np.concatenate([protocol.query_ids for protocol in protocols]))
    return predictions.align(first.image_ids, query_ids, score_threshold=options.score_threshold)


def _search(
    aligned: Predictions,
    protocols: Sequence[SearchProtocol],
    options: SearchOptions,
    device: torch.device | str | None,
) -> list[SearchResult]:
    positives = rank_positives(
        aligned,
        protocols,
        [find_candidates(aligned, protocol) for protocol in protocols],
        weights=options.weights(aligned),
        reranker=options.reranker,
        device=torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")),
    )
    return [_summarize(*pair) for pair in zip(protocols, positives, strict=True)]


def _summarize(protocol: SearchProtocol, positives: PositiveRanks) -> SearchResult:
    unsearched = protocol.unsearched
    if unsearched is None:
        unsearched = np.zeros(len(protocol.query_ids), dtype=np.int64)
    return SearchResult(
        protocol=protocol.name,
        query_ids=protocol.query_ids,
        average_precision=average_precision(positives, unsearched=unsearched),
        first_rank=first_rank(positives),
        targets=sum_by_query(positives, positives.counts) + unsearched,
        found=sum_by_query(positives, positives.found),
        positives=positives,
    )


def _randomize(aligned: Predictions, seed: int) -> Predictions:
    """Return the predictions with random unit embeddings."""
    generator = np.random.default_rng(seed)

    def generate(count: int) -> np.ndarray:
        rows = generator.standard_normal((count, _CHANCE_WIDTH), dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    queries = generate(len(aligned.queries))
    return aligned.replace_embeddings(generate(len(aligned.detections.values)), queries)
