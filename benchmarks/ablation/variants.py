"""Variants of the ablation, and grids of several variants.

A variant states alignment, heads and losses in full, so that it stays the same model when a default
changes. All other keys are those of the config.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clsa_search.errors import InputError

Changes = dict[str, object]

BASELINE = "no_alignment"
RECIPE = "recipe"


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
    baseline: str = BASELINE

    @property
    def opts(self) -> list[str]:
        """Return the changes as KEY VALUE pairs."""
        return [word for key, value in sorted(self.changes.items()) for word in (key, str(value))]


def _reid(**changes: object) -> Changes:
    """Return keys below MODEL.REID; "__" stands for a dot."""
    return {f"MODEL.REID.{key.replace('__', '.')}": value for key, value in changes.items()}


_PLAIN = _reid(
    ALIGN__WEIGHT=0.0,
    ALIGN__SAME_PERSON_WEIGHT=0.0,
    ALIGN__DECORRELATION_WEIGHT=0.0,
    ALIGN__RAMP=0.0,
    ALIGN__BEHIND_NECK=False,
    HEAD__NECK="none",
    HEAD__POOL="avg",
    TRIPLET__WEIGHT=0.0,
    LABEL_SMOOTHING=0.0,
    AUGMENT__ERASING=0.0,
    AUGMENT__BLUR=0.0,
)
"""Cross-entropy on every level and nothing else."""

_KL = _PLAIN | _reid(ALIGN__WEIGHT=1.0)
_RAMP = _reid(ALIGN__RAMP=0.25)
_SAME_PERSON = _reid(ALIGN__SAME_PERSON_WEIGHT=1.0) | _RAMP
_DECORRELATION = _reid(ALIGN__DECORRELATION_WEIGHT=1.0) | _RAMP
_SD = _SAME_PERSON | _DECORRELATION
_NECK = _reid(HEAD__NECK="bn", ALIGN__BEHIND_NECK=True)
_TRIPLET = _reid(TRIPLET__WEIGHT=1.0)
_OIM = _reid(CLASSIFIER="OIMClassifier")
_SHARED = _reid(NAME="SharedBranch")
_SINGLE = _reid(LEVELS=["res5"])
# a short average, as the trainings of an ablation are
_EMA: Changes = {"SOLVER.EMA.ENABLED": True, "SOLVER.EMA.DECAY": 0.99}

_INGREDIENTS: dict[str, tuple[str, Changes]] = {
    "same_person": ("S: same-person alignment", _SAME_PERSON),
    "decorrelation": ("D: decorrelation", _DECORRELATION),
    "neck": ("BNNeck", _NECK),
    "triplet": ("batch-hard triplet", _TRIPLET),
    "smoothing": ("label smoothing", _reid(LABEL_SMOOTHING=0.1)),
    "gem": ("GeM", _reid(HEAD__POOL="gem")),
    "last_stride": (
        "last stride 1",
        _reid(BACKBONE__NAME="build_reid_resnet_backbone", BACKBONE__LAST_STRIDE=1),
    ),
    "ema": ("EMA of the weights", _EMA),
    "kl": ("KL", _reid(ALIGN__WEIGHT=1.0)),
    "cosine": ("cosine classifier", _reid(CLASSIFIER="CosineClassifier", COSINE__MARGIN=0.0)),
    "oim": ("OIM", _OIM),
    "erasing": ("random erasing", _reid(AUGMENT__ERASING=0.5)),
    "blur": ("blur", _reid(AUGMENT__BLUR=0.3)),
}
"""{name: (label, changes)} of all that is tried alone and on top of S + D."""

_RECIPE = ("same_person", "decorrelation", "neck", "gem")
"""Ingredients of the default recipe: each is left out once, and each other one added."""


def _combine(names: Sequence[str]) -> Changes:
    changes = dict(_PLAIN)
    for name in names:
        changes |= _INGREDIENTS[name][1]
    return changes


_ALONE = tuple(
    Variant(name, label, _PLAIN | changes)
    for name, (label, changes) in _INGREDIENTS.items()
    if name != "kl"  # that is the variant "alignment"
)
_LEFT_OUT = tuple(
    Variant(
        f"without_{left_out}",
        f"without {_INGREDIENTS[left_out][0]}",
        _combine([name for name in _RECIPE if name != left_out]),
        RECIPE,
    )
    for left_out in _RECIPE
)
_ON_SD = tuple(
    Variant(f"sd_{name}", f"S + D, {label}", _PLAIN | _SD | changes, "sd")
    for name, (label, changes) in _INGREDIENTS.items()
    if name not in ("same_person", "decorrelation")
)
_ADDED = tuple(
    Variant(f"with_{name}", f"with {label}", _combine((*_RECIPE, name)), RECIPE)
    for name, (label, _) in _INGREDIENTS.items()
    if name not in _RECIPE
)
_VARIANTS = (
    Variant(BASELINE, "all levels, no alignment", _PLAIN),
    Variant("single", "single level, res5", _PLAIN | _SINGLE),
    Variant("alignment", "KL to the detached source (CLSA)", _KL),
    Variant("ramp", "the same, weight rising over a quarter", _KL | _reid(ALIGN__RAMP=0.25)),
    Variant("free", "KL, source with gradient", _KL | _reid(ALIGN__DETACH_SOURCE=False)),
    Variant("t1", "KL, T = 1", _KL | _reid(ALIGN__TEMPERATURE=1.0)),
    Variant("t3", "KL, T = 3", _KL | _reid(ALIGN__TEMPERATURE=3.0)),
    Variant("t6", "KL, T = 6", _KL | _reid(ALIGN__TEMPERATURE=6.0)),
    Variant("top_only", "KL, cross-entropy on res5 only", _KL | _reid(ID_LEVELS=["res5"])),
    Variant("labeled_only", "KL of labeled people only", _KL | _reid(ALIGN__UNLABELED=False)),
    Variant("sd", "S + D", _PLAIN | _SD),
    Variant("sd3", "S + 3 D", _PLAIN | _SD | _reid(ALIGN__DECORRELATION_WEIGHT=3.0), "sd"),
    Variant(RECIPE, "the default: S + D, BNNeck, GeM", _combine(_RECIPE)),
    *_LEFT_OUT,
    *_ADDED,
    *_ON_SD,
    Variant(
        "sd_before_neck",
        "S + D before the BNNeck",
        _PLAIN | _SD | _reid(HEAD__NECK="bn"),
        "sd",
    ),
    Variant("s_neck", "S, BNNeck", _combine(("same_person", "neck"))),
    Variant("d_neck", "D, BNNeck", _combine(("decorrelation", "neck"))),
    Variant(
        "sd_neck_smoothing",
        "S + D, BNNeck, label smoothing",
        _PLAIN | _SD | _NECK | _reid(LABEL_SMOOTHING=0.1),
        "sd",
    ),
    Variant("sd_neck_triplet", "S + D, BNNeck, triplet", _PLAIN | _SD | _NECK | _TRIPLET, "sd"),
    *_ALONE,
    Variant("oim_alignment", "OIM, KL", _KL | _OIM, "oim"),
    Variant("shared", "shared branch", _PLAIN | _SHARED),
    Variant("shared_alignment", "shared branch, KL", _KL | _SHARED, "shared"),
)
VARIANTS = {variant.name: variant for variant in _VARIANTS}


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Return the first name of each model."""
    models = {tuple(VARIANTS[name].opts): name for name in reversed(names)}
    return tuple(name for name in dict.fromkeys(names) if name in models.values())


GRIDS = {
    "main": (BASELINE, "single", "alignment", "sd", RECIPE),
    "full": _distinct(tuple(name for name in VARIANTS if name != "t3")),  # the configs have T = 3
    "alone": (
        *(BASELINE, "single", "alignment", "ramp", "free", "sd", RECIPE),
        *(variant.name for variant in _ALONE),
    ),
    "on_sd": (
        *("sd", "sd3", "sd_before_neck", "sd_neck_triplet"),
        *(variant.name for variant in _ON_SD),
    ),
    "left_out": (RECIPE, *(variant.name for variant in _LEFT_OUT)),
    "added": (RECIPE, *(variant.name for variant in _ADDED)),
}
GRIDS["crops"] = _distinct(GRIDS["alone"] + GRIDS["left_out"] + GRIDS["added"])


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
