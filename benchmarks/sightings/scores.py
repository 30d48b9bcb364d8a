"""Scores of linking."""

import numpy as np
from scipy.optimize import linear_sum_assignment


def score_links(labels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Score tracklets against identities.

    Returns:
        IDF1 (all boxes are found, so it is the share of boxes in the best pairing), purity (share
        of boxes of the commonest identity of their tracklet), detections and people per tracklet,
        tracklets per person.
    """
    _, rows = np.unique(labels, return_inverse=True)
    _, columns = np.unique(truth, return_inverse=True)
    common = np.zeros((rows.max() + 1, columns.max() + 1), int)
    np.add.at(common, (rows, columns), 1)
    pairs = linear_sum_assignment(-common)
    count = len(labels)
    return {
        "IDF1": float(common[pairs].sum() / count),
        "purity": float(common.max(axis=1).sum() / count),
        "detections per tracklet": count / len(common),
        "people per tracklet": float((common > 0).sum() / len(common)),
        "tracklets per person": len(common) / common.shape[1],
    }
