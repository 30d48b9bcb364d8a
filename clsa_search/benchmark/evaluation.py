"""How long the metrics take on generated predictions of the benchmarks' sizes, and how much memory.

The unit is one float32 product of all queries with all detections on the same device: no evaluation
can do without it.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from clsa_search.data.galleries import Gallery
from clsa_search.evaluation.metrics import evaluate_protocols
from clsa_search.evaluation.options import SearchOptions
from clsa_search.evaluation.predictions import Predictions
from clsa_search.evaluation.protocol import SearchProtocol, build_protocol, full_gallery_protocol
from clsa_search.evaluation.reranking import CBGM, KReciprocal, Reranker
from clsa_search.benchmark.measuring import peak_memory, time_work

SIGNAL = 0.7  # share of an identity in its descriptors: mAP between 90 and 99


@dataclass(frozen=True)
class Size:
    """Of a benchmark; gallery sizes of 0 stand for every image but the query's own."""

    images: int
    detections: int
    queries: int
    identities: int
    labelled: int
    galleries: tuple[int, ...]
    cbgm: CBGM

    def scale(self, share: float) -> "Size":
        """A smaller one of the same shape, to try things out."""
        images, detections, queries, identities, labelled, *galleries = (
            max(1, round(share * count)) if count else 0
            for count in (
                *(self.images, self.detections, self.queries, self.identities, self.labelled),
                *self.galleries,
            )
        )
        return Size(images, detections, queries, identities, labelled, tuple(galleries), self.cbgm)


SIZES = {
    "CUHK-SYSU": Size(
        6978, 38000, 2900, 2900, 11600, (50, 100, 500, 1000, 2000, 4000), CBGM(10, 3)
    ),
    "PRW": Size(6112, 38000, 2057, 450, 19127, (0,), CBGM(30, 4)),
}


@dataclass(frozen=True)
class Measurement:
    """Medians over the repetitions, in seconds and MB."""

    benchmark: str
    width: int
    protocols: int
    product_seconds: float
    seconds: float  # all protocols together
    ratio: float  # of the two
    extra_mb: float  # peak memory beyond the inputs; of the GPU, where it is used
    cbgm_seconds: float  # with CBGM, on the gallery of 100 images or the only one
    k_reciprocal_seconds: float  # with k-reciprocal re-ranking, there too
    mAP: float  # of the last protocol, in percent: that there was something to rank


def measure_evaluation(
    name: str, width: int, *, device: torch.device, repeat: int = 3, scale: float = 1
) -> Measurement:
    """Score generated predictions.

    Args:
        name: of `SIZES`.
        width: of the descriptors.
        device: where to compute.
        repeat: how often each thing is timed, after a first time that is not.
        scale: share of the benchmark's size.
    """
    size = SIZES[name].scale(scale)
    predictions, protocols = generate_predictions(size, width)
    small = protocols[min(1, len(protocols) - 1)]
    product = _time_product(predictions, device, repeat)

    def evaluate() -> list:
        return evaluate_protocols(predictions, protocols, device=device)

    extra, results = peak_memory(evaluate, device)
    seconds = time_work(evaluate, device, repeat)

    def time_reranker(reranker: Reranker) -> float:
        options = SearchOptions(reranker=reranker)
        return time_work(
            lambda: evaluate_protocols(predictions, [small], options, device=device), device, 1
        )

    return Measurement(
        benchmark=name,
        width=width,
        protocols=len(protocols),
        product_seconds=product,
        seconds=seconds,
        ratio=seconds / product,
        extra_mb=extra,
        cbgm_seconds=time_reranker(size.cbgm),
        k_reciprocal_seconds=time_reranker(KReciprocal()),
        mAP=results[-1].metrics()["mAP"],
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
    labelled = rng.choice(size.detections, size.labelled, replace=False)
    person_ids[labelled] = rng.integers(0, size.identities, size.labelled)
    centres = _draw_unit(rng, size.identities, width)
    features = _draw_unit(rng, size.detections, width)
    features[labelled] += SIGNAL * centres[person_ids[labelled]]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    asked = np.arange(size.queries) % size.identities
    query_features = _draw_unit(rng, size.queries, width) + SIGNAL * centres[asked]
    query_features /= np.linalg.norm(query_features, axis=1, keepdims=True)
    query_images = rng.integers(0, size.images, size.queries)
    names = np.array([f"s{image:05d}" for image in range(size.images)])
    predictions = Predictions(
        image_ids=names,
        offsets=np.searchsorted(images, np.arange(size.images + 1)),
        boxes=boxes.astype(np.float32),
        scores=rng.uniform(0.5, 1, size.detections).astype(np.float32),
        features=features,
        query_ids=np.arange(size.queries),
        query_features=query_features,
        query_boxes=np.tile(np.float32([0, 0, 10, 20]), (size.queries, 1)),
        query_image_ids=names[query_images],
        meta={},
    )
    records = _make_records(predictions, person_ids, query_images, asked)
    return predictions, [_make_protocol(rng, records, count) for count in size.galleries]


def to_rows(measurements: list[Measurement]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(measurement) for measurement in measurements]


def _draw_unit(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    rows = rng.standard_normal((count, width), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _make_records(
    predictions: Predictions, person_ids: np.ndarray, query_images: np.ndarray, asked: np.ndarray
) -> list[dict]:
    boxes, people = predictions.boxes.tolist(), person_ids.tolist()
    records = []
    for image, name in enumerate(predictions.image_ids.tolist()):
        rows = range(*predictions.offsets[image : image + 2])
        annotations = [{"bbox": boxes[row], "person_id": people[row]} for row in rows]
        records.append({"image_id": name, "annotations": annotations, "queries": []})
    for query, image in enumerate(query_images.tolist()):
        person = int(asked[query])
        records[image]["queries"].append(
            {"query_id": query, "bbox": [0, 0, 10, 20], "person_id": person}
        )
    return records


def _make_protocol(rng: np.random.Generator, records: list[dict], count: int) -> SearchProtocol:
    """A gallery of `count` images for each query, those that hold the person first."""
    full = full_gallery_protocol(records)
    if count == 0:
        return full
    galleries = []
    for start, stop in zip(full.target_offsets, full.target_offsets[1:], strict=False):
        holders = np.unique(full.target_images[start:stop])[:count]
        others = rng.permutation(len(records))[: count + len(holders)]
        others = others[~np.isin(others, holders)][: count - len(holders)]
        galleries.append(np.concatenate([holders, others]).astype(np.int32))
    offsets = np.arange(len(galleries) + 1) * count
    gallery = Gallery(full.query_ids, offsets, np.concatenate(galleries))
    return build_protocol(records, gallery, f"g{count}")


def _time_product(predictions: Predictions, device: torch.device, repeat: int) -> float:
    queries = torch.from_numpy(predictions.query_features).to(device)
    features = torch.from_numpy(predictions.features).to(device)
    return time_work(lambda: queries @ features.T, device, repeat)
