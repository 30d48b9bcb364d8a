"""Matching of detections with ground-truth boxes by IoU, all images at once.

Shape letters: A boxes, M detections, K pairs of a box and a detection in one image.
"""

import numpy as np

from clsa_search.structures import ImageDetections, Ragged

SMALL_BOX_MARGIN = 10
"""Pixels; see `target_threshold`."""


def pair_boxes(
    images: np.ndarray, boxes: np.ndarray, detections: Ragged[ImageDetections]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pair every box with every detection of its image.

    Args:
        images: (A,) image of each box, a row of the detections.
        boxes: (A, 4) float64 XYXY in pixels of the original image.
        detections: one row per image.

    Returns:
        (K,) box, (K,) detection, (K,) float64 IoU.
    """
    box, detection = detections.expand(images)
    return box, detection, _iou(boxes[box], detections.values.boxes[detection].astype(np.float64))


def target_threshold(boxes: np.ndarray) -> np.ndarray:
    """Return the (A,) smallest IoU of a detection on a target box: 0.5, and less for small boxes.

    w*h / ((w + 10) * (h + 10)) is the IoU of a w x h box and a box 10 pixels wider and higher.

    Args:
        boxes: (A, 4) XYXY in pixels.
    """
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    larger = (width + SMALL_BOX_MARGIN) * (height + SMALL_BOX_MARGIN)
    return np.minimum(0.5, width * height / larger)


def match_one_to_one(
    box: np.ndarray, detection: np.ndarray, iou: np.ndarray, scores: np.ndarray
) -> np.ndarray:
    """Mark the pairs of a box and a detection with each other's best IoU.

    Of equal IoUs, a detection takes the first box, and a box takes the detection of higher score,
    then the first.

    Args:
        box: (K,) box of each pair.
        detection: (K,) detection of each pair.
        iou: (K,) IoU of each pair.
        scores: (M,) detection scores.

    Returns:
        (K,) bool.
    """
    return is_best(detection, -iou, box) & is_best(box, -iou, -scores[detection], detection)


def is_best(group: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """Mark the first member of each group by the sort keys.

    Args:
        group: (K,) group of each member.
        keys: (K,) sort keys, the most important first.

    Returns:
        (K,) bool.
    """
    order = np.lexsort((*reversed(keys), group))
    best = np.zeros(len(group), dtype=bool)
    best[order] = np.diff(group[order], prepend=-1) != 0
    return best


def _iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return (K,) IoU of boxes (K, 4) with others (K, 4); 0 for two empty boxes."""
    sides = np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2])
    overlap = sides.clip(min=0).prod(axis=1)
    union = _area(boxes) + _area(others) - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
