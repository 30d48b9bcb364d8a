"""Types of arguments for argparse: each parses a text and names the expected values."""

import argparse
import math
from collections.abc import Callable
from typing import Any

MAX_INTEGER = 2**63 - 1
"""Largest whole number of databases and arrays."""

_SHOWN = 60  # characters of a wrong value


def whole_number(low: int = 0, high: int = MAX_INTEGER) -> Callable[[str], int]:
    """Return a parser of whole numbers from `low` to `high`."""
    limits = f"from {low}" if high == MAX_INTEGER else f"from {low} to {high}"
    return _bounded(int, low, high, f"a whole number {limits}")


def number(low: float = -math.inf, high: float = math.inf) -> Callable[[str], float]:
    """Return a parser of finite numbers from `low` to `high`."""
    limits = f" from {low:g} to {high:g}" if math.isfinite(high) else ""
    return _bounded(float, low, high, f"a number{limits}")


def parsed_by(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a parser whose ValueErrors are shown by argparse."""

    def convert(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def _bounded(
    kind: Callable[[str], Any], low: float, high: float, expected: str
) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or math.isinf(value):
            raise ValueError(f"{text[:_SHOWN]!r}; expected {expected}")
        return value

    return parsed_by(parse)
