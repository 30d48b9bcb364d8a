"""Which detections lie on which annotated people: boxes only, in NumPy, all images at once.

Shape letters: A annotated boxes, M detections sorted by image, K pairs of both in one image.
"""

import numpy as np

from clsa_search.evaluation.predictions import expand_ranges

SMALL_BOX_MARGIN = 10  # pixels; see target_threshold


def pair_boxes(
    images: np.ndarray, boxes: np.ndarray, offsets: np.ndarray, detections: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every annotated box with every detection of its image.

    Args:
        images: (A,) image of each annotated box.
        boxes: (A, 4) XYXY.
        offsets: (N+1,) of the images' detections.
        detections: (M, 4) XYXY.

    Returns:
        (K,) annotated box, (K,) detection, (K,) IoU in float64.
    """
    box, detection = expand_ranges(offsets[images], np.diff(offsets)[images])
    return box, detection, _iou(boxes[box], detections[detection].astype(np.float64))


def target_threshold(boxes: np.ndarray) -> np.ndarray:
    """The IoU (A,) from which a detection is on a target (A, 4): 0.5, and less on small boxes.

    w*h / ((w + 10) * (h + 10)), the IoU of a w x h box with one that is 10 px larger both ways.
    """
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    larger = (width + SMALL_BOX_MARGIN) * (height + SMALL_BOX_MARGIN)
    return np.minimum(0.5, width * height / larger)


def match_one_to_one(
    box: np.ndarray, detection: np.ndarray, iou: np.ndarray, scores: np.ndarray
) -> np.ndarray:
    """The pairs (K,) in which each is the other's best by IoU.

    Of equal IoUs, a detection takes the box that comes first, a box the detection of higher score
    and then the one that comes first.
    """
    return is_best(detection, -iou, box) & is_best(box, -iou, -scores[detection], detection)


def is_best(group: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """Marks in each group the member that sorts first by the keys."""
    order = np.lexsort((*reversed(keys), group))
    best = np.zeros(len(group), dtype=bool)
    best[order] = np.diff(group[order], prepend=-1) != 0
    return best


def _iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU (K,) of boxes (K, 4) with others (K, 4); 0 of two empty boxes."""
    sides = np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2])
    overlap = sides.clip(min=0).prod(axis=1)
    union = _area(boxes) + _area(others) - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
