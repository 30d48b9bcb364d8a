"""Compatibility mode "seqnet": the evaluation of the SeqNet family, with its differences from ours.

Source: the public evaluation code of SeqNet (Li and Miao, AAAI 2021), the ancestor of those of COAT
and GFN. Each line names our semantics, then theirs, then the queries concerned:

- Similarities come from the embeddings alone / are multiplied by the detection score. All queries.
- Detection metrics use the score threshold of the search / a threshold of 0.01. No query.
- A gallery image listed twice counts twice / is searched once while its person counts twice:
  average precision 1 is out of reach. CUHK-SYSU, gallery 100: 4 of 2,900 (0-based 1250, 1633,
  1997, 2561).
- For a person with two boxes in an image, either box is right / only one is: that of the first
  listing if the gallery lists the image with both (CUHK-SYSU, gallery 100: 0-based 1633, 1997,
  2561), else the first annotation (PRW: queries of one of the persons in three frames).
- Ground-truth boxes are as published, clipped at the image border / truncated to whole pixels,
  negative corners moved to 0 with the width kept, nothing clipped. PRW: all queries, a few boxes by
  more than a pixel; the boxes of CUHK-SYSU are whole pixels anyway.
- Labeled AP leaves out detections of unlabeled persons / counts them as wrong. Not imitated: the
  family prints only the recall, and that is equal. No query.
- k-reciprocal re-ranking takes distances as they are / divides each column of the distance matrix
  by its maximum, as the public program of the method does. Not imitated. All queries, if used.
- Ties put wrong before right / are in the order of NumPy's argsort. Not imitated: it depends on
  NumPy's version and the processor.
- "All" of CUHK-SYSU contains every image once / the listed images a second time, with every
  detection in them wrong. Not imitated.

No difference: the query's own image is searched only if a fixed gallery lists it (CUHK-SYSU,
gallery 100: 0-based 493, for another box of the person there, and 2132, for the query box itself).
PRW's gallery is all other frames; the official MATLAB protocol is "cross_camera" here. Query
embeddings come from the predictions file, although the family embeds the truncated boxes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clsa_search.data.galleries import FirstListings, Gallery
from clsa_search.evaluation.box_matching import is_best
from clsa_search.evaluation.protocol import SearchProtocol, build_protocol
from clsa_search.structures import Ragged

SEQNET = "seqnet"
COMPATIBILITIES = (SEQNET,)
DETECTION_THRESHOLD = 0.01
"""Score threshold of the detection metrics, from `eval_detection` in SeqNet's engine.py."""


def build_seqnet_protocol(records: Sequence[dict], gallery: Gallery, name: str) -> SearchProtocol:
    """Build a protocol with the family's targets, for `SearchOptions(compat="seqnet")`.

    Args:
        records: records of a dataset; `published_bbox` (XYXY) of an annotation is its box before
            the loader clipped it at the image border.
        gallery: gallery of these records.
        name: name of the protocol.
    """
    protocol = build_protocol(truncate_boxes(records), gallery, name)
    protocol = _keep_first_box(protocol, gallery.first_listings)
    return replace(_search_once(protocol), compat=SEQNET)


def truncate_boxes(records: Sequence[dict]) -> list[dict]:
    """Return the records with ground-truth boxes as the family reads them."""
    return [
        record | {"annotations": [one | {"bbox": _truncate(one)} for one in record["annotations"]]}
        for record in records
    ]


def _truncate(annotation: dict) -> list[float]:
    box = np.array(annotation.get("published_bbox", annotation["bbox"]), dtype=np.float64)
    start, end = box.reshape(2, 2)
    # the far corner is x + w in float64, as there; only from a moved corner on, w is needed alone
    end = np.where(start < 0, (end - start).round(6), end)
    return np.trunc([*start.clip(min=0), *end]).tolist()


def _keep_first_box(protocol: SearchProtocol, listings: FirstListings | None) -> SearchProtocol:
    """Keep one of several target boxes in an image: the first listed, else the first annotated."""
    query, boxes = protocol.targets.owners, protocol.targets.values
    key = query * len(protocol.image_ids) + boxes.images
    distances = np.zeros(len(key))
    if listings is not None:
        rows = np.searchsorted(protocol.query_ids, listings.query_ids)
        listed = rows * len(protocol.image_ids) + listings.images
        for listed_key, box in zip(listed, listings.boxes, strict=True):
            same = key == listed_key
            distances[same] = np.abs(boxes.boxes[same] - box).max(axis=1)
    first = np.flatnonzero(is_best(key, distances))
    lengths = np.bincount(query[first], minlength=len(protocol.query_ids))
    return replace(protocol, targets=Ragged.from_lengths(boxes[first], lengths))


def _search_once(protocol: SearchProtocol) -> SearchProtocol:
    """Search each gallery image once; targets in further copies count as unsearched."""
    count, images = len(protocol.query_ids), len(protocol.image_ids)
    query = protocol.galleries.owners
    key = query * images + protocol.galleries.values
    first = np.zeros(len(key), dtype=bool)
    first[np.unique(key, return_index=True)[1]] = True
    targets = protocol.targets.owners * images + protocol.targets.values.images
    unsearched = query[~first][np.isin(key[~first], targets)]
    return replace(
        protocol,
        galleries=Ragged.from_lengths(
            protocol.galleries.values[first], np.bincount(query[first], minlength=count)
        ),
        unsearched=np.bincount(unsearched, minlength=count),
    )
