"""Pairs of boxes of one frame, and how far they overlap.

Shape letters: N boxes, P pairs.
"""

from collections.abc import Iterator

import numpy as np


def iterate_frame_pairs(frames: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the pairs of boxes of one frame in blocks: neighbors, then those with one between, ...

    Args:
        frames: (N,) number of the frame of each box, ascending; -1 for an image without pairs.

    Yields:
        Rows (P,) and rows of their partners (P,), each row once in a block.
    """
    for step in range(1, len(frames)):
        rows = np.flatnonzero((frames[step:] == frames[:-step]) & (frames[step:] >= 0))
        if not len(rows):
            return
        yield rows, rows + step


def compute_common(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Compute the area (P,) that boxes (P, 4) share with others (P, 4)."""
    sides = np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2])
    sides = np.maximum(sides, 0)
    return sides[:, 0] * sides[:, 1]


def compute_areas(boxes: np.ndarray) -> np.ndarray:
    """Compute the areas (P,) of boxes (P, 4)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def compute_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Compute the IoU (P,) of boxes (P, 4) with others (P, 4)."""
    common = compute_common(boxes, others)
    union = compute_areas(boxes) + compute_areas(others) - common
    return common / np.maximum(union, 1e-9)
