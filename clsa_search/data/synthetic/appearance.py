"""Random appearances and poses of people, and groups of similar identities.

An appearance is a record of attributes; the same record always gives the same drawing. Poses
(direction, gait, arms) are sampled per image.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np

from clsa_search.data.synthetic.textures import PATTERNS, Color

T = TypeVar("T")


def _bgr(code: str) -> Color:
    value = int(code, 16)
    return value & 255, value >> 8 & 255, value >> 16


CLOTH = {
    name: _bgr(code)
    for name, code in {
        "black": "1d1d20", "charcoal": "46484d", "gray": "8b8e92", "silver": "c3c6c9",
        "white": "eeeeea", "cream": "e2d6b8", "navy": "1f2c56", "blue": "2a56b0",
        "sky": "7fb2dd", "teal": "12787f", "green": "2c7d3f", "olive": "676b34",
        "lime": "a2c83a", "yellow": "efcb2f", "mustard": "b98a26", "orange": "e07a28",
        "red": "c52a2e", "burgundy": "6d1c30", "pink": "e59ab0", "magenta": "b52c7c",
        "purple": "5d3a86", "brown": "63432d", "tan": "b08d62", "mint": "9ed3b8",
    }.items()
}  # fmt: skip
SKIN = tuple(map(_bgr, ("f2cdb3", "e3b08f", "c98f68", "a06a45", "7a4b30", "56341f")))
HAIR = tuple(map(_bgr, ("17130f", "33221a", "5d3a20", "8f5f2e", "c9a05a", "9b9b9b", "8a3a1c")))
HAIR_STYLES = ("short", "short", "long", "bob", "ponytail", "bun", "curls", "bald")
UPPER_KINDS = ("shirt", "shirt", "tee", "tee", "jacket", "jacket", "coat", "dress")
LOWER_KINDS = ("trousers", "trousers", "trousers", "skirt", "shorts")
LOWER_PATTERNS = ("plain", "plain", "plain", "plain", "stripe", "checks", "bands")
BAGS = ("none", "none", "backpack", "handbag", "shoulder", "shopping", "suitcase")
HATS = ("none", "none", "none", "none", "cap", "beanie", "brim")

# Attributes that may differ between siblings.
SIBLING_ATTRIBUTES = (
    "upper_color", "upper_pattern", "lower_color", "lower_kind", "hair_style", "hat", "bag",
)  # fmt: skip


@dataclass(frozen=True)
class Appearance:
    """Clothes and body of an identity, equal in all its images.

    Colors are keys of `CLOTH`; `skin` and `hair_color` are indices into `SKIN` and `HAIR`.

    Args:
        upper_kind: upper garment.
        upper_color: color of the upper garment.
        upper_pattern: pattern of the upper garment.
        upper_second: color of that pattern.
        repeat: repeats of the pattern along the body.
        lower_kind: lower garment.
        lower_color: color of the lower garment.
        lower_pattern: pattern of the lower garment.
        shoe_color: color of the shoes.
        skin: skin color.
        hair_style: hair style.
        hair_color: hair color.
        beard: True with a beard.
        hat: hat, or "none".
        hat_color: color of the hat.
        bag: bag, or "none".
        bag_color: color of the bag.
        left: True for a bag on the person's left side.
        stature: height in meters.
        girth: width of the body, 1 = average.
        hips: hip width / shoulder width.
    """

    upper_kind: str
    upper_color: str
    upper_pattern: str
    upper_second: str
    repeat: float
    lower_kind: str
    lower_color: str
    lower_pattern: str
    shoe_color: str
    skin: int
    hair_style: str
    hair_color: int
    beard: bool
    hat: str
    hat_color: str
    bag: str
    bag_color: str
    left: bool
    stature: float
    girth: float
    hips: float


@dataclass(frozen=True)
class Pose:
    """Pose of a person in one image.

    Args:
        yaw: direction in radians: 0 toward the viewer, pi/2 to the right of the image.
        phase: phase of the gait in radians.
        stride: stride of the gait in radians; 0 stands.
        arms: left and right arm: swing, carry, pocket, phone or hip.
        lean: forward lean in radians.
    """

    yaw: float
    phase: float
    stride: float
    arms: tuple[str, str]
    lean: float


def _pick(rng: np.random.Generator, choices: Iterable[T]) -> T:
    items = tuple(choices)
    return items[int(rng.integers(len(items)))]


def _other_color(rng: np.random.Generator, color: str, *, distance: float = 90.0) -> str:
    """Pick a cloth color farther than `distance` in BGR from another."""
    here = np.array(CLOTH[color])
    far = [n for n, c in CLOTH.items() if np.linalg.norm(here - np.array(c)) > distance]
    return _pick(rng, tuple(far))


def sample_appearance(rng: np.random.Generator) -> Appearance:
    """Sample a random appearance."""
    upper_kind, upper_color = _pick(rng, UPPER_KINDS), _pick(rng, CLOTH)
    feminine = upper_kind == "dress" or rng.random() < 0.45
    lower_kind = _pick(rng, LOWER_KINDS if feminine else ("trousers",) * 4 + ("shorts",))
    patterns = [p for p in PATTERNS if p != "open" or upper_kind in ("jacket", "coat", "shirt")]
    styles = HAIR_STYLES[:-1] if feminine else ("short",) * 6 + ("curls", "long", "bald", "bald")
    hats = tuple(h for h in HATS if h != "brim" or feminine)
    return Appearance(
        upper_kind=upper_kind,
        upper_color=upper_color,
        upper_pattern=_pick(rng, ("plain", "plain", *patterns)),
        upper_second=_other_color(rng, upper_color, distance=140.0),
        repeat=float(_pick(rng, (3.0, 4.0, 5.5))),
        lower_kind=lower_kind,
        lower_color=_pick(rng, CLOTH),
        lower_pattern=_pick(rng, LOWER_PATTERNS),
        shoe_color=_pick(rng, ("black", "black", "brown", "white", "gray", "red", "navy", "tan")),
        skin=int(rng.integers(len(SKIN))),
        hair_style=_pick(rng, styles),
        hair_color=int(rng.integers(len(HAIR))),
        beard=bool(not feminine and rng.random() < 0.3),
        hat=_pick(rng, hats),
        hat_color=_pick(rng, CLOTH),
        bag=_pick(rng, BAGS),
        bag_color=_pick(rng, CLOTH),
        left=bool(rng.random() < 0.5),
        stature=float(np.clip(rng.normal(1.67 if feminine else 1.78, 0.07), 1.5, 1.98)),
        girth=float(rng.uniform(0.86, 1.28)),
        hips=float(rng.uniform(1.0, 1.12) if feminine else rng.uniform(0.84, 0.95)),
    )


def make_sibling(person: Appearance, rng: np.random.Generator) -> Appearance:
    """Return another appearance that differs in exactly one of `SIBLING_ATTRIBUTES`."""
    hidden = {"lower_kind", "lower_color"} if person.upper_kind == "dress" else set()
    hidden |= {"hair_style"} if person.hat != "none" else set()
    if person.upper_kind == "coat" and person.lower_kind != "trousers":
        hidden |= {"lower_color"}
    attribute = _pick(rng, tuple(a for a in SIBLING_ATTRIBUTES if a not in hidden))
    value = getattr(person, attribute)
    if attribute.endswith("color"):
        return _with_attribute(person, attribute, _other_color(rng, value))
    choices = {
        "upper_pattern": tuple(p for p in PATTERNS if p != "open"),
        "lower_kind": LOWER_KINDS,
        "hair_style": HAIR_STYLES,
        "hat": HATS,
        "bag": BAGS,
    }[attribute]
    others = tuple(sorted(set(choices) - {value}))
    return _with_attribute(person, attribute, _pick(rng, others))


def _with_attribute(person: Appearance, name: str, value: str) -> Appearance:
    changes: dict[str, Any] = {name: value}
    return replace(person, **changes)


def differing_attributes(one: Appearance, other: Appearance) -> tuple[str, ...]:
    """Return the names of the attributes that differ."""
    first, second = asdict(one), asdict(other)
    return tuple(name for name in first if first[name] != second[name])


def sample_identities(
    rng: np.random.Generator, count: int, *, sibling_fraction: float
) -> list[Appearance]:
    """Sample distinct appearances in groups: a first appearance, then its siblings.

    Args:
        rng: random generator.
        count: number of appearances.
        sibling_fraction: share of siblings.
    """
    people: list[Appearance] = []
    first: Appearance | None = None
    while len(people) < count:
        if first is not None and rng.random() < sibling_fraction:
            person = make_sibling(first, rng)
            if person in people:
                continue
        else:
            person = sample_appearance(rng)
            if person in people:
                continue
            first = person
        people.append(person)
    return people


def sample_pose(rng: np.random.Generator, appearance: Appearance) -> Pose:
    """Sample a random pose; an arm with a bag hangs down."""
    arms = [_pick(rng, ("swing",) * 6 + ("pocket", "pocket", "phone", "hip")) for _ in range(2)]
    if appearance.bag in ("handbag", "shopping", "suitcase"):
        arms[0 if appearance.left else 1] = "carry"
    walking = rng.random() < 0.75
    return Pose(
        yaw=float(rng.uniform(-np.pi, np.pi)),
        phase=float(rng.uniform(0, 2 * np.pi)),
        stride=float(rng.uniform(0.25, 0.55) if walking else rng.uniform(0.0, 0.08)),
        arms=(arms[0], arms[1]),
        lean=float(rng.uniform(-0.01, 0.06)),
    )
