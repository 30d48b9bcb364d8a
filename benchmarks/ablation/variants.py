"""The rows of the ablation and the grids that name several of them.

A row states what it changes in the config at hand, which itself is the row "alignment".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clsa_search.errors import InputError


@dataclass(frozen=True)
class Variant:
    """A model to train, and the row that its figures are compared with, seed by seed."""

    name: str
    label: str  # for people
    changes: Mapping[str, object]  # {config key: value}
    baseline: str = "no_alignment"

    @property
    def opts(self) -> list[str]:
        """The changes as KEY VALUE pairs."""
        return [word for key, value in self.changes.items() for word in (key, str(value))]


_NO_ALIGNMENT = {"MODEL.REID.ALIGN.WEIGHT": 0.0}
_SHARED = {"MODEL.REID.NAME": "SharedBranch"}
_OIM = {"MODEL.REID.CLASSIFIER": "OIMClassifier"}
_ROWS = (
    Variant("single", "single level, res5", {"MODEL.REID.LEVELS": ["res5"]}),
    Variant("no_alignment", "all levels, no alignment", _NO_ALIGNMENT),
    Variant("alignment", "all levels, alignment", {}),
    Variant("free", "source free to move", {"MODEL.REID.ALIGN.DETACH_SOURCE": False}),
    Variant("t1", "T = 1", {"MODEL.REID.ALIGN.TEMPERATURE": 1.0}),
    Variant("t3", "T = 3", {"MODEL.REID.ALIGN.TEMPERATURE": 3.0}),
    Variant("t6", "T = 6", {"MODEL.REID.ALIGN.TEMPERATURE": 6.0}),
    Variant("top_only", "cross-entropy on res5 only", {"MODEL.REID.ID_LEVELS": ["res5"]}),
    Variant("labeled_only", "labeled people aligned only", {"MODEL.REID.ALIGN.UNLABELED": False}),
    Variant("shared_no_alignment", "shared branch, no alignment", _SHARED | _NO_ALIGNMENT),
    Variant("shared", "shared branch, alignment", _SHARED, "shared_no_alignment"),
    Variant("oim_no_alignment", "OIM, no alignment", _OIM | _NO_ALIGNMENT),
    Variant("oim", "OIM, alignment", _OIM, "oim_no_alignment"),
)
VARIANTS = {row.name: row for row in _ROWS}

GRIDS = {
    "main": ("single", "no_alignment", "alignment", "free"),
    "full": tuple(name for name in VARIANTS if name != "t3"),  # what the configs have
}


def select_variants(names: Sequence[str]) -> list[Variant]:
    """Rows by name, each once, in the order given.

    Raises:
        InputError: there is no such row.
    """
    if unknown := [name for name in names if name not in VARIANTS]:
        raise InputError(f"row {unknown[0]!r} is not known; expected some of {', '.join(VARIANTS)}")
    return [VARIANTS[name] for name in dict.fromkeys(names)]
