"""Samples of a dataset: images with their boxes and identities, to check annotations by eye."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from clsa_search.data.image_io import read_image
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED
from clsa_search.visualize.boxes import MAX_LENGTH, draw_boxes
from clsa_search.visualize.resizing import shrink

logger = logging.getLogger(__name__)


def draw_samples(records: Sequence[dict], count: int, output_dir: str | Path) -> list[Path]:
    """Draw boxes and identities on some images, evenly spread over those with boxes or queries.

    Args:
        records: records of a dataset.
        count: largest number of images.
        output_dir: folder of the drawings, created if missing.

    Returns:
        The drawings, each named after the number of its record. Unreadable images are logged and
        left out.
    """
    with_boxes = [i for i, r in enumerate(records) if r["annotations"] or r.get("queries")]
    chosen = np.linspace(0, len(with_boxes) - 1, min(count, len(with_boxes))).round().astype(int)
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    drawings = []
    for number in dict.fromkeys(with_boxes[i] for i in chosen):
        record = records[number]
        annotations = [*record["annotations"], *record.get("queries", [])]
        boxes = np.array([annotation["bbox"] for annotation in annotations])
        try:
            image, boxes = shrink(read_image(record["file_name"]), boxes, (MAX_LENGTH, MAX_LENGTH))
        except InputError as error:
            logger.warning("not drawn: %s", error)
            continue
        drawing = draw_boxes(image, boxes, [_label(annotation) for annotation in annotations])
        drawings.append(Path(output_dir) / f"{number:06d}.jpg")
        Image.fromarray(drawing).save(drawings[-1], quality=90)
    return drawings


def _label(annotation: dict) -> str | None:
    person = None if annotation["person_id"] == UNLABELED else str(annotation["person_id"])
    return f"query {annotation['query_id']}: {person}" if "query_id" in annotation else person
