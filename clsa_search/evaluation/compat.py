"""The SeqNet family's evaluation, where it differs from ours: the compatibility mode "seqnet".

Source: the public evaluation program of SeqNet (Li and Miao, AAAI 2021), from which those of COAT
and GFN descend. Ours, then theirs, then which queries it concerns:

- Similarities are of the embeddings alone / times the detection's score. All queries.
- Detection counts from the score that search counts from / from 0.01. No query.
- A gallery image listed twice counts twice / is searched once while its person counts twice, so
  that average precision 1 is out of reach. CUHK-SYSU, gallery 100: 4 of 2,900 (0-based 1250, 1633,
  1997, 2561).
- A person on two boxes of an image: either will do / the box annotated first alone. PRW: queries
  for one of the persons in three frames.
- Annotated boxes are as published, cut at the image's border / truncated to whole pixels, negative
  corners moved to 0 with the width kept, nothing cut. PRW: all queries, a few boxes by more than a
  pixel; CUHK-SYSU's boxes are whole pixels anyway.
- Equal similarities: wrong before right / as NumPy's argsort happens to leave them. Not imitated:
  it depends on NumPy's version and the processor.
- All of CUHK-SYSU: every image once / the listed ones a second time, with everybody in them wrong.
  Not imitated.

No difference: the query's own image is searched where a fixed gallery lists it (CUHK-SYSU, gallery
100: 0-based 493, for the person's other box there, and 2132, for the very box) and nowhere else.
PRW's gallery is all other frames; the official MATLAB protocol is "cross_camera" here. Embeddings
of queries stay what the predictions file has, though the family describes the truncated boxes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clsa_search.data.galleries import Gallery
from clsa_search.evaluation.protocol import SearchProtocol, build_protocol

SEQNET = "seqnet"
COMPATIBILITIES = (SEQNET,)
DETECTION_THRESHOLD = 0.01  # engine.py of SeqNet, where it calls eval_detection


def build_seqnet_protocol(records: Sequence[dict], gallery: Gallery, name: str) -> SearchProtocol:
    """A protocol with the family's targets, for `SearchOptions(compat="seqnet")`.

    Args:
        records: as for `build_protocol`; an annotation that the loader cut at the image's border
            says in `published_bbox` (XYXY) what it was.
        gallery: of these records.
        name: of the protocol.
    """
    protocol = build_protocol(truncate_people(records), gallery, name)
    return replace(_search_once(_keep_first_box(protocol)), compat=SEQNET)


def truncate_people(records: Sequence[dict]) -> list[dict]:
    """The records with annotated boxes as the family reads them."""
    return [
        record | {"annotations": [one | {"bbox": _truncate(one)} for one in record["annotations"]]}
        for record in records
    ]


def _truncate(person: dict) -> list[float]:
    corners = np.array(person.get("published_bbox", person["bbox"]), dtype=np.float64)
    start = corners[:2].clip(min=0)
    return np.trunc([*start, *(start + corners[2:] - corners[:2])]).tolist()


def _keep_first_box(protocol: SearchProtocol) -> SearchProtocol:
    """Of several boxes of a person in an image, the one that is annotated first."""
    query = np.repeat(np.arange(len(protocol.query_ids)), np.diff(protocol.target_offsets))
    key = query * len(protocol.image_ids) + protocol.target_images
    first = np.unique(key, return_index=True)[1]
    return replace(
        protocol,
        target_offsets=np.searchsorted(query[first], np.arange(len(protocol.query_ids) + 1)),
        target_images=protocol.target_images[first],
        target_boxes=protocol.target_boxes[first],
    )


def _search_once(protocol: SearchProtocol) -> SearchProtocol:
    """Each listed image once; what a further listing held counts as lost."""
    count, images = len(protocol.query_ids), len(protocol.image_ids)
    query = np.repeat(np.arange(count), np.diff(protocol.gallery_offsets))
    key = query * images + protocol.gallery_images
    first = np.zeros(len(key), dtype=bool)
    first[np.unique(key, return_index=True)[1]] = True
    target_query = np.repeat(np.arange(count), np.diff(protocol.target_offsets))
    holders = target_query * images + protocol.target_images
    lost = query[~first][np.isin(key[~first], holders)]
    return replace(
        protocol,
        gallery_offsets=np.searchsorted(query[first], np.arange(count + 1)),
        gallery_images=protocol.gallery_images[first],
        lost=np.bincount(lost, minlength=count),
    )
