"""Variants of the ablation, and grids of several variants.

A variant states its changes to a config. The unchanged config is the variant "alignment".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clsa_search.errors import InputError


@dataclass(frozen=True)
class Variant:
    """Variant of a config.

    Args:
        name: name on the command line.
        label: name in the table.
        changes: changed config keys and their values.
        baseline: name of the variant it is compared with, seed by seed.
    """

    name: str
    label: str
    changes: Mapping[str, object]
    baseline: str = "no_alignment"

    @property
    def opts(self) -> list[str]:
        """Return the changes as KEY VALUE pairs."""
        return [word for key, value in self.changes.items() for word in (key, str(value))]


_NO_ALIGNMENT: dict[str, object] = {"MODEL.REID.ALIGN.WEIGHT": 0.0}
_SHARED: dict[str, object] = {"MODEL.REID.NAME": "SharedBranch"}
_OIM: dict[str, object] = {"MODEL.REID.CLASSIFIER": "OIMClassifier"}
_VARIANTS = (
    Variant("single", "single level, res5", {"MODEL.REID.LEVELS": ["res5"]}),
    Variant("no_alignment", "all levels, no alignment", _NO_ALIGNMENT),
    Variant("alignment", "all levels, alignment", {}),
    Variant("free", "source with gradient", {"MODEL.REID.ALIGN.DETACH_SOURCE": False}),
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
VARIANTS = {variant.name: variant for variant in _VARIANTS}

GRIDS = {
    "main": ("single", "no_alignment", "alignment", "free"),
    "full": tuple(name for name in VARIANTS if name != "t3"),  # the configs have T = 3
}


def select_variants(names: Sequence[str]) -> list[Variant]:
    """Return variants by name, each once, in the given order.

    Raises:
        InputError: if a name is unknown.
    """
    if unknown := [name for name in names if name not in VARIANTS]:
        raise InputError(
            f"variant {unknown[0]!r} is unknown; expected some of {', '.join(VARIANTS)}"
        )
    return [VARIANTS[name] for name in dict.fromkeys(names)]
