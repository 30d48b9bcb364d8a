"""Speed and memory of the search metrics on random predictions of the size of a published test set.

The limit is one float32 product of all queries with all detections on the same device.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from statistics import median

import numpy as np
import torch

from benchmarks.speed.inputs import generate_embeddings, normalize
from benchmarks.speed.measurement import Measurement
from benchmarks.speed.operations import OperationCounts
from benchmarks.speed.settings import DATASET_SIZES, DatasetSize
from benchmarks.speed.timing import peak_memory, time_call
from clsa_search.data.galleries import Gallery
from clsa_search.evaluation.cbgm import CBGM
from clsa_search.evaluation.k_reciprocal import KReciprocal
from clsa_search.evaluation.metrics import evaluate_protocols
from clsa_search.evaluation.predictions import Predictions
from clsa_search.evaluation.protocol import SearchProtocol, build_protocol, full_gallery_protocol
from clsa_search.evaluation.search_options import DEFAULTS, SearchOptions
from clsa_search.evaluation.search_result import SearchResult
from clsa_search.structures import UNLABELED, ImageDetections, Queries, Ragged

SIGNAL = 0.7  # share of the identity in an embedding: mAP of 90 to 99
_RERANKED_QUERIES = 3000  # at most; the cost of re-ranking is per query
_BLOCK = 1 << 26  # similarities per product of the limit
_QUERY_BOX = (0, 0, 10, 20)


def measure_evaluation(
    name: str, width: int, *, device: torch.device, repeat: int = 3, scale: float = 1
) -> Iterator[Measurement]:
    """Measure all protocols together, then each re-ranker on one protocol.

    Args:
        name: key of `DATASET_SIZES`.
        width: width of the embeddings.
        device: device of the evaluation.
        repeat: number of timed calls; re-rankers run once.
        scale: share of the dataset's size.
    """
    size = DATASET_SIZES[name].scale(scale)
    predictions, protocols = generate_predictions(size, width)
    limit = _time_product(predictions, device, repeat)
    measure = partial(_measure, predictions, limit=limit, device=device)
    yield measure(protocols, f"{name} x {len(protocols)}", repeat=repeat)
    small = protocols[min(1, len(protocols) - 1)]  # the gallery of 100 images, or the only one
    small = small.select(small.query_ids[:_RERANKED_QUERIES].tolist())
    for label, reranker in (("CBGM", CBGM(*size.cbgm)), ("k-reciprocal", KReciprocal())):
        options = SearchOptions(reranker=reranker)
        yield measure([small], f"{name} {small.name} with {label}", options, repeat=0)


def generate_predictions(
    size: DatasetSize, width: int, seed: int = 0
) -> tuple[Predictions, list[SearchProtocol]]:
    """Generate predictions of a perfect detector, and the protocols of a dataset."""
    rng = np.random.default_rng(seed)
    images = np.sort(rng.integers(0, size.images, size.detections))
    corners = rng.uniform(0, 1500, (size.detections, 2))
    boxes = np.hstack([corners, corners + rng.uniform(20, 200, (size.detections, 2))])
    person_ids = np.full(size.detections, UNLABELED)
    labeled = rng.choice(size.detections, size.labeled, replace=False)
    person_ids[labeled] = rng.integers(0, size.identities, size.labeled)
    centers = generate_embeddings(rng, size.identities, width)
    embeddings = generate_embeddings(rng, size.detections, width)
    embeddings[labeled] += SIGNAL * centers[person_ids[labeled]]
    query_persons = np.arange(size.queries) % size.identities
    signal = SIGNAL * centers[query_persons]
    query_embeddings = normalize(generate_embeddings(rng, size.queries, width) + signal)
    query_images = rng.integers(0, size.images, size.queries)
    names = np.array([f"s{image:05d}" for image in range(size.images)])
    predictions = Predictions(
        image_ids=names,
        detections=Ragged(
            ImageDetections(
                boxes=boxes.astype(np.float32),
                scores=rng.uniform(0.5, 1, size.detections).astype(np.float32),
                embeddings=normalize(embeddings),
            ),
            np.searchsorted(images, np.arange(size.images + 1)),
        ),
        queries=Queries(
            ids=np.arange(size.queries),
            boxes=np.tile(np.array(_QUERY_BOX, np.float32), (size.queries, 1)),
            embeddings=query_embeddings,
            image_ids=names[query_images],
        ),
        meta={},
    )
    records = _make_records(predictions, person_ids, query_images, query_persons)
    positives = _find_positive_images(images, person_ids, query_images, query_persons)
    protocols = [_make_protocol(rng, records, positives, count) for count in size.galleries]
    return predictions, protocols


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
    """Measure an evaluation; `limit` is in seconds per query."""
    seconds: list[float] = []
    results: list[SearchResult] = []

    def evaluate() -> None:
        results[:] = evaluate_protocols(predictions, protocols, options, device=device)

    memory_mb, _ = peak_memory(lambda: seconds.append(time_call(evaluate, device)), device)
    seconds += [time_call(evaluate, device) for _ in range(repeat)]
    total, count = median(seconds[1:] or seconds), len(protocols[0].query_ids)
    embeddings = predictions.detections.values.embeddings
    return Measurement(
        name=f"{label}, width {embeddings.shape[1]}",
        unit="query",
        seconds=total / count,
        memory_mb=memory_mb,
        operations=OperationCounts(2 * embeddings.size, embeddings.nbytes // count, 0),
        limit_seconds=limit,
        notes={
            "queries": count,
            "total seconds": total,
            "time / product": total / count / limit,
            "mAP": results[-1].metrics()["mAP"],
        },
    )


def _make_records(
    predictions: Predictions,
    person_ids: np.ndarray,
    query_images: np.ndarray,
    query_persons: np.ndarray,
) -> list[dict]:
    boxes, persons = predictions.detections.values.boxes.tolist(), person_ids.tolist()
    records: list[dict] = []
    for image, name in enumerate(predictions.image_ids.tolist()):
        rows = range(*predictions.detections.offsets[image : image + 2])
        annotations = [{"bbox": boxes[row], "person_id": persons[row]} for row in rows]
        records.append({"image_id": name, "annotations": annotations, "queries": []})
    for query, image in enumerate(query_images.tolist()):
        person_id = int(query_persons[query])
        records[image]["queries"].append(
            {"query_id": query, "bbox": list(_QUERY_BOX), "person_id": person_id}
        )
    return records


def _find_positive_images(
    images: np.ndarray, person_ids: np.ndarray, query_images: np.ndarray, query_persons: np.ndarray
) -> list[np.ndarray]:
    """Return for each query the images with its person, except the query image."""
    order = np.argsort(person_ids, kind="stable")
    ordered = person_ids[order]
    starts = np.searchsorted(ordered, query_persons, "left")
    stops = np.searchsorted(ordered, query_persons, "right")
    return [
        np.setdiff1d(images[order[start:stop]], own)
        for start, stop, own in zip(starts, stops, query_images, strict=True)
    ]


def _make_protocol(
    rng: np.random.Generator, records: list[dict], positives: list[np.ndarray], count: int
) -> SearchProtocol:
    """Make a gallery of `count` images for each query, images with positives first."""
    if count == 0:
        return full_gallery_protocol(records)
    images = np.empty((len(positives), count), dtype=np.int32)
    for row, own in zip(images, positives, strict=True):
        own = own[:count]
        spare = min(count + len(own), len(records))
        sampled = rng.choice(len(records), spare, replace=False, shuffle=False)
        row[:] = np.concatenate([own, sampled[~np.isin(sampled, own)]])[:count]
    rows = Ragged(images.reshape(-1), np.arange(len(positives) + 1) * count)
    gallery = Gallery(np.arange(len(positives)), rows)
    return build_protocol(records, gallery, f"g{count}")


def _time_product(predictions: Predictions, device: torch.device, repeat: int) -> float:
    """Return seconds per query of the product, in blocks of the same memory."""
    queries = torch.from_numpy(predictions.queries.embeddings).to(device)
    embeddings = torch.from_numpy(predictions.detections.values.embeddings).to(device)
    blocks = queries.split(max(1, _BLOCK // len(embeddings)))
    products = torch.empty(len(blocks[0]), len(embeddings), device=device)

    def multiply() -> None:
        for block in blocks:
            torch.mm(block, embeddings.T, out=products[: len(block)])

    return time_call(multiply, device, repeat) / len(queries)
