"""Conditions of config values, with the words for them in messages."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from detectron2.utils.registry import Registry

from clsa_search.wording import count_noun


class Check(NamedTuple):
    """Condition of a value, and its description for the message."""

    accepts: Callable[[Any], bool]
    describe: Callable[[], str]


def at_least(low: float) -> Check:
    """Return the condition of a finite number, not below a limit."""
    return Check(lambda x: low <= x < math.inf, lambda: f"a number of {low} or more")


def above(low: float) -> Check:
    """Return the condition of a finite number above a limit."""
    return Check(lambda x: low < x < math.inf, lambda: f"a number above {low}")


def one_of(*choices: object) -> Check:
    """Return the condition of one of a few values."""
    words = ", ".join(map(repr, choices))
    return Check(lambda x: x in choices, lambda: f"one of {words}" if len(choices) > 1 else words)


def each(check: Check, *counts: int) -> Check:
    """Return the check of a list with one of these lengths; without lengths, of any length."""
    number = f"{' or '.join(map(str, counts))} of: " if counts else "each "
    return Check(
        lambda x: (not counts or len(x) in counts) and all(map(check.accepts, x)),
        lambda: f"a list, {number}{check.describe()}",
    )


def some(check: Check) -> Check:
    """Return the check of a list with at least one element."""
    return Check(
        lambda x: len(x) > 0 and check.accepts(x), lambda: f"at least one; {check.describe()}"
    )


def registered(registry: Registry, *detectron2: str) -> Check:
    """Return the check of a registered name.

    Args:
        registry: registry of the classes or functions.
        detectron2: those of Detectron2's own that fit person search; all by default.
    """

    def choices() -> list[str]:
        return sorted(
            name
            for name, entry in registry
            if not detectron2
            or name in detectron2
            or not entry.__module__.startswith("detectron2.")
        )

    return Check(lambda x: x in choices(), lambda: f"one of {', '.join(map(repr, choices()))}")


def _is_plain(value: Any, depth: int = 3) -> bool:
    if isinstance(value, list | tuple):  # aliases of a YAML file may nest without an end
        return depth > 0 and all(_is_plain(item, depth - 1) for item in value)
    return not isinstance(value, int | float) or 0 <= value < math.inf


def _is_device(name: str) -> bool:
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count()  # without a GPU the CPU takes its place
        return count == 0 or (device.index or 0) < count
    return device.type == "cpu"


def _describe_devices() -> str:
    count = torch.cuda.device_count()
    last = f", cuda:0 to cuda:{count - 1}" if count > 1 else ""
    return f"cpu or cuda{last}; this machine has {count_noun(count, 'GPU')}"


PLAIN = Check(_is_plain, lambda: "finite numbers of 0 or more")
DEVICE = Check(_is_device, _describe_devices)
ANY = Check(lambda x: True, lambda: "any value")
COUNT = Check(lambda x: isinstance(x, int) and x >= 1, lambda: "a whole number of 1 or more")
POSITIVE = above(0)
SHARE = Check(lambda x: 0 <= x <= 1, lambda: "a number from 0 to 1")
MOMENTUM = Check(lambda x: 0 <= x < 1, lambda: "a number from 0 to less than 1")
TEXT = Check(lambda x: isinstance(x, str) and x != "", lambda: "a text that is not empty")
NAMES = each(TEXT)
SIZE = each(COUNT, 2)
NORM = one_of("", "BN", "SyncBN", "FrozenBN", "GN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N")
STAGES = Check(lambda x: x in range(6), lambda: "a number of stages from 0 to 5")
OFF = one_of(False)  # parts of Detectron2 that person search does not use
BOX_LOSS = one_of("smooth_l1", "giou", "diou", "ciou")
LABELS = each(one_of(-1, 0, 1))
