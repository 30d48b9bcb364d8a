"""A cohort of tracklets that tells how alike strangers of a gallery are.

Shape letters: Q queries, M tracklets of the cohort, C cameras of the cohort, D embedding width.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

COHORT_SIZE = 1024  # tracklets, shared by the cameras
CAMERA_SHARE = 64  # tracklets of each camera where there are many cameras
MAX_COHORT = 4096
MIN_OF_CAMERA = 32  # a camera with fewer has the location of the whole gallery
_NORMAL = 1.4826  # standard deviation of a normal distribution by its median absolute deviation
_MIN_SCALE = 1e-6
_CLOSEST = 1 - 1e-6
_BLOCK_ROWS = 2048


def sample_cohort(cameras: Sequence[str | None], seed: int = 0) -> np.ndarray:
    """Sample tracklets, as many of each camera as there are.

    Args:
        cameras: camera of each tracklet.
        seed: seed of the random order.

    Returns:
        Ascending indices of at most `MAX_COHORT` tracklets.
    """
    names, codes = np.unique([_to_key(camera) for camera in cameras], return_inverse=True)
    share = max(COHORT_SIZE // max(len(names), 1), CAMERA_SHARE)
    order = np.random.default_rng(seed).permutation(len(codes))
    order = order[codes[order].argsort(kind="stable")]
    ranks = np.arange(len(order)) - np.searchsorted(codes[order], codes[order])
    # first tracklets of all cameras, then second ones, ... until the cohort is full
    chosen = order[ranks.argsort(kind="stable")]
    size = min(max(COHORT_SIZE, share * len(names)), MAX_COHORT)
    return np.sort(chosen[:size])


class Cohort:
    """Tracklets of all cameras, most of them strangers to any query.

    The median of a query's similarities to the cohort of a camera says how alike strangers are on
    this camera. The median deviation from it, over all cameras, says how much they differ. Both
    are robust: matches of the query are a small part.

    Args:
        embeddings: (M, D) of unit length.
        cameras: camera of each.

    Attributes:
        order: (M,) rows of `embeddings` in the order of the cohort.
        embeddings: (M, D) in this order.
        codes: (M,) code of the camera of each, in this order.
    """

    def __init__(self, embeddings: np.ndarray, cameras: Sequence[str | None]) -> None:
        names = [_to_key(camera) for camera in cameras]
        kept = [name for name, count in Counter(names).items() if count >= MIN_OF_CAMERA]
        self._codes = {name: code for code, name in enumerate(kept)}
        codes = self.encode(cameras)
        order = codes.argsort(kind="stable")
        self.order = order
        self.codes = codes[order]  # the tracklets of a camera lie together
        self.embeddings = np.ascontiguousarray(embeddings[order], np.float32)
        ends = np.searchsorted(self.codes, np.arange(1, len(kept) + 1)).tolist()
        self._spans = [slice(*span) for span in zip([0, *ends], ends, strict=False)]

    def __len__(self) -> int:
        return len(self.embeddings)

    def encode(self, cameras: Sequence[str | None]) -> np.ndarray:
        """Return the code of each camera; the last code stands for all small ones."""
        return np.array([self._codes.get(_to_key(one), len(self._codes)) for one in cameras], int)

    def measure(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Measure how alike strangers are to some queries.

        Args:
            queries: (Q, D) of unit length.

        Returns:
            (Q, C + 1) locations by code of the camera, and (Q,) scales; float64.
        """
        blocks = np.split(queries, range(_BLOCK_ROWS, len(queries), _BLOCK_ROWS))
        parts = [self._measure_block(np.asarray(block, np.float32)) for block in blocks]
        locations, scales = zip(*parts, strict=True)
        return np.concatenate(locations), np.concatenate(scales)

    def _measure_block(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        similarities = stretch(queries @ self.embeddings.T)
        everywhere = _find_median(similarities)
        locations = np.repeat(everywhere[:, None], len(self._codes) + 1, axis=1)
        residuals = similarities - everywhere[:, None]
        for code, span in enumerate(self._spans):
            locations[:, code] = _find_median(similarities[:, span])
            residuals[:, span] = similarities[:, span] - locations[:, code : code + 1]
        residuals = np.abs(residuals)
        scales = np.maximum(_NORMAL * _find_median(residuals), _MIN_SCALE)
        return locations.astype(float), scales.astype(float)


def stretch(similarities: np.ndarray) -> np.ndarray:
    """Return the inverse hyperbolic tangent of similarities.

    Similarities end at 1: where all are high, they are crowded. Fisher's transformation undoes it.
    """
    return np.arctanh(np.clip(similarities, -_CLOSEST, _CLOSEST))


def _find_median(values: np.ndarray) -> np.ndarray:
    """Return the upper median of each row; 0 of an empty row."""
    middle = values.shape[1] // 2
    if not values.shape[1]:
        return np.zeros(len(values), values.dtype)
    return np.partition(values, middle, axis=1)[:, middle]


def _to_key(camera: str | None) -> str:
    return "" if camera is None else "=" + camera
