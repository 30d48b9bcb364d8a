"""Checks of re-ranking parameters, without slow imports."""

from clsa_search.errors import InputError

MAX_CONTEXT = 5
"""Largest k2 of CBGM; the number of matchings to compare grows as k2 ** k2."""


K_RECIPROCAL_DEPTH = 200
"""Number of detections that k-reciprocal re-ranking sorts anew by default."""


def check_cbgm(k1: int, k2: int) -> None:
    """Check the parameters of CBGM.

    Raises:
        InputError: a parameter is out of range.
    """
    if k1 < 1 or not 1 <= k2 <= MAX_CONTEXT:
        raise InputError(
            f"CBGM: k1, k2 are {k1}, {k2}; expected k1 from 1 and k2 from 1 to {MAX_CONTEXT}"
        )


def check_k_reciprocal(k1: int, k2: int, weight: float, depth: int = K_RECIPROCAL_DEPTH) -> None:
    """Check the parameters of k-reciprocal re-ranking.

    Raises:
        InputError: a parameter is out of range.
    """
    whole = all(isinstance(count, int) and count >= 1 for count in (k1, k2, depth))
    if not (whole and 0 <= weight <= 1):
        raise InputError(
            f"k-reciprocal re-ranking: k1, k2, weight, depth are {k1}, {k2}, {weight}, {depth}; "
            "expected whole numbers from 1, weight from 0 to 1"
        )
