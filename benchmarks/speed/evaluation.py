"""How long the metrics take on generated predictions of the benchmarks' sizes, and how much memory.

The limit is one float32 product of all queries with all detections on the same device: no
evaluation can do without it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
import torch

from benchmarks.speed.inputs import generate_embeddings, normalize
from benchmarks.speed.measurement import Measurement
from benchmarks.speed.operations import OperationCounts
from benchmarks.speed.timing import peak_memory, time_call
from clsa_search.data.galleries import Gallery
from clsa_search.evaluation.cbgm import CBGM
from clsa_search.evaluation.k_reciprocal import KReciprocal
from clsa_search.evaluation.metrics import evaluate_protocols
from clsa_search.evaluation.predictions import Predictions
from clsa_search.evaluation.protocol import SearchProtocol, build_protocol, full_gallery_protocol
from clsa_search.evaluation.search_options import DEFAULTS, SearchOptions
from clsa_search.structures import ImageDetections, Queries, Ragged

SIGNAL = 0.7  # share of an identity in its embeddings: mAP between 90 and 99
_RERANKED = 3000  # queries at most with a re-ranker: their cost is each query's own
_PRODUCTS = 1 << 26  # similarities at a time of the bare product


@dataclass(frozen=True)
class Size:
    """Of a benchmark; gallery sizes of 0 stand for every image but the query's own."""

    images: int
    detections: int
    queries: int
    identities: int
    labeled: int
    galleries: tuple[int, ...]
    cbgm: CBGM

    def scale(self, share: float) -> "Size":
        """A smaller one of the same shape, to try things out."""
        images, detections, queries, identities, labeled, *galleries = (
            max(1, round(share * count)) if count else 0
            for count in (
                *(self.images, self.detections, self.queries, self.identities, self.labeled),
                *self.galleries,
            )
        )
        return Size(images, detections, queries, identities, labeled, tuple(galleries), self.cbgm)


SIZES = {
    "CUHK-SYSU": Size(
        6978, 38000, 2900, 2900, 11600, (50, 100, 500, 1000, 2000, 4000), CBGM(10, 3)
    ),
    "PRW": Size(6112, 38000, 2057, 450, 19127, (0,), CBGM(30, 4)),
}


def measure_evaluation(
    name: str, width: int, *, device: torch.device, repeat: int = 3, scale: float = 1
) -> Iterator[Measurement]:
    """Score generated predictions: all protocols together, then each re-ranker on one of them.

    Args:
        name: of `SIZES`.
        width: of the embeddings.
        device: where to compute.
        repeat: how often all protocols are timed; re-rankers, which take long, are run once.
        scale: share of the benchmark's size.
    """
    size = SIZES[name].scale(scale)
    predictions, protocols = generate_predictions(size, width)
    limit = _time_product(predictions, device, repeat)
    measure = partial(_measure, predictions, limit=limit, device=device)
    yield measure(protocols, f"{name} x {len(protocols)}", repeat=repeat)
    small = protocols[min(1, len(protocols) - 1)]  # the gallery of 100 images or the only one
    small = small.select(small.query_ids[:_RERANKED])
    for label, reranker in (("CBGM", size.cbgm), ("k-reciprocal", KReciprocal())):
        options = SearchOptions(reranker=reranker)
        yield measure([small], f"{name} {small.name} with {label}", options, repeat=0)


def _measure(
    predictions: Predictions,
    protocols: Sequence[SearchProtocol],
    label: str,
    options: SearchOptions = DEFAULTS,
    *,
    limit: float,
    device: torch.device,
    repeat: int,
) -> Measurement:
    """The limit is the product's, in seconds of one query."""
    seconds, results = [], []

    def evaluate() -> None:
        results[:] = evaluate_protocols(predictions, protocols, options, device=device)

    memory_mb, _ = peak_memory(lambda: seconds.append(time_call(evaluate, device)), device)
    seconds += [time_call(evaluate, device) for _ in range(repeat)]
    whole, count = median(seconds[1:] or seconds), len(protocols[0].query_ids)
    embeddings = predictions.detections.values.embeddings
    width = embeddings.shape[1]
    return Measurement(
        name=f"{label}, width {width}",
        unit="query",
        seconds=whole / count,
        memory_mb=memory_mb,
        operations=OperationCounts(2 * embeddings.size, embeddings.nbytes // count, 0),
        limit_seconds=limit,
        notes={
            "queries": count,
            "seconds of all": whole,
            "times the product": whole / count / limit,
            "mAP": results[-1].metrics()["mAP"],
        },
    )


def generate_predictions(
    size: Size, width: int, seed: int = 0
) -> tuple[Predictions, list[SearchProtocol]]:
    """Predictions in which every annotated person is found, and the protocols to score."""
    rng = np.random.default_rng(seed)
    images = np.sort(rng.integers(0, size.images, size.detections))
    corners = rng.uniform(0, 1500, (size.detections, 2))
    boxes = np.hstack([corners, corners + rng.uniform(20, 200, (size.detections, 2))])
    person_ids = np.full(size.detections, -1)
    labeled = rng.choice(size.detections, size.labeled, replace=False)
    person_ids[labeled] = rng.integers(0, size.identities, size.labeled)
    centers = generate_embeddings(rng, size.identities, width)
    features = generate_embeddings(rng, size.detections, width)
    features[labeled] += SIGNAL * centers[person_ids[labeled]]
    asked = np.arange(size.queries) % size.identities
    query_embeddings = generate_embeddings(rng, size.queries, width) + SIGNAL * centers[asked]
    query_images = rng.integers(0, size.images, size.queries)
    names = np.array([f"s{image:05d}" for image in range(size.images)])
    predictions = Predictions(
        image_ids=names,
        detections=Ragged(
            ImageDetections(
                boxes=boxes.astype(np.float32),
                scores=rng.uniform(0.5, 1, size.detections).astype(np.float32),
                embeddings=normalize(features),
            ),
            np.searchsorted(images, np.arange(size.images + 1)),
        ),
        queries=Queries(
            ids=np.arange(size.queries),
            boxes=np.tile(np.float32([0, 0, 10, 20]), (size.queries, 1)),
            embeddings=normalize(query_embeddings),
            image_ids=names[query_images],
        ),
        meta={},
    )
    records = _make_records(predictions, person_ids, query_images, asked)
    holders = _find_holders(images, person_ids, query_images, asked)
    protocols = [_make_protocol(rng, records, holders, count) for count in size.galleries]
    return predictions, protocols


def _make_records(
    predictions: Predictions, person_ids: np.ndarray, query_images: np.ndarray, asked: np.ndarray
) -> list[dict]:
    boxes, people = predictions.detections.values.boxes.tolist(), person_ids.tolist()
    records = []
    for image, name in enumerate(predictions.image_ids.tolist()):
        rows = range(*predictions.detections.offsets[image : image + 2])
        annotations = [{"bbox": boxes[row], "person_id": people[row]} for row in rows]
        records.append({"image_id": name, "annotations": annotations, "queries": []})
    for query, image in enumerate(query_images.tolist()):
        person = int(asked[query])
        records[image]["queries"].append(
            {"query_id": query, "bbox": [0, 0, 10, 20], "person_id": person}
        )
    return records


def _find_holders(
    images: np.ndarray, person_ids: np.ndarray, query_images: np.ndarray, asked: np.ndarray
) -> list[np.ndarray]:
    """For each query, the images that hold its person, its own left out."""
    order = np.argsort(person_ids, kind="stable")
    starts, stops = (np.searchsorted(person_ids[order], asked, side) for side in ("left", "right"))
    return [
        np.setdiff1d(images[order[start:stop]], own)
        for start, stop, own in zip(starts, stops, query_images, strict=True)
    ]


def _make_protocol(
    rng: np.random.Generator, records: list[dict], holders: list[np.ndarray], count: int
) -> SearchProtocol:
    """A gallery of `count` images for each query, those that hold the person first."""
    if count == 0:
        return full_gallery_protocol(records)
    images = np.empty((len(holders), count), dtype=np.int32)
    for row, mine in zip(images, holders, strict=True):
        mine = mine[:count]
        spare = min(count + len(mine), len(records))
        drawn = rng.choice(len(records), spare, replace=False, shuffle=False)
        others = drawn[~np.isin(drawn, mine)]
        row[:] = np.concatenate([mine, others])[:count]
    rows = Ragged(images.reshape(-1), np.arange(len(holders) + 1) * count)
    gallery = Gallery(np.arange(len(holders)), rows)
    return build_protocol(records, gallery, f"g{count}")


def _time_product(predictions: Predictions, device: torch.device, repeat: int) -> float:
    """Seconds of one query; in blocks into the same memory, as all similarities need not fit."""
    queries = torch.from_numpy(predictions.queries.embeddings).to(device)
    features = torch.from_numpy(predictions.detections.values.embeddings).to(device)
    blocks = queries.split(max(1, _PRODUCTS // len(features)))
    products = torch.empty(len(blocks[0]), len(features), device=device)

    def multiply() -> None:
        for block in blocks:
            torch.mm(block, features.T, out=products[: len(block)])

    return time_call(multiply, device, repeat) / len(queries)
