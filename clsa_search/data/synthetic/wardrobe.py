"""Dressed parts of a person as tubes: head and hat, torso, legs, arms, luggage.

Body frame and unit of length as in `solids`; joints come from `person`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from clsa_search.data.synthetic import textures as cloth
from clsa_search.data.synthetic.appearance import CLOTH, HAIR, SKIN, Appearance
from clsa_search.data.synthetic.solids import Point, Tube

NECK = 0.828
_JACKETS = ("jacket", "coat")
_LONG = {"coat": (0.29, 1.12), "dress": (0.31, 1.35)}  # hem height, flare


@dataclass(frozen=True)
class Limb:
    """Three joints: hip, knee, ankle; or shoulder, elbow, wrist.

    Args:
        top: hip or shoulder.
        middle: knee or elbow.
        end: ankle or wrist.
    """

    top: Point
    middle: Point
    end: Point


def shoulder_width(person: Appearance) -> float:
    """Return half the width of the shoulders."""
    return 0.119 * (0.6 + 0.4 * person.girth) / person.hips**0.3


def hip_width(person: Appearance) -> float:
    """Return half the width of the hips."""
    return 0.100 * (0.4 + 0.6 * person.girth) * person.hips


def covers_knees(person: Appearance) -> bool:
    """Return whether the clothes allow short steps only."""
    return person.upper_kind in _LONG or person.lower_kind == "skirt"


def _scaled(factor: float, *widths: float) -> tuple[float, ...]:
    return tuple(factor * width for width in widths)


def head(person: Appearance, lean: float) -> list[Tube]:
    """Return head, neck, hair and hat.

    Args:
        person: appearance.
        lean: forward lean in radians.
    """
    z = lean * 0.6
    skin = SKIN[person.skin]
    face = cloth.head(skin, HAIR[person.hair_color], person.hair_style, person.beard)
    return [
        Tube((0, 0.955, z + 0.01), (0, 0.895, z + 0.012), (0.056, 0.062, 0.060, 0.049), face,
             depth=1.12, caps=(0.036, 0.036)),
        Tube((0, 0.88, z), (0, 0.80, z * 0.5), (0.035, 0.038), cloth.flat(skin)),
        *_hair(person, z),
        *_hat(person, z),
    ]  # fmt: skip


def _hair(person: Appearance, z: float) -> list[Tube]:
    locks = cloth.flat(HAIR[person.hair_color])
    return {
        "long": [Tube((0, 0.95, z - 0.022), (0, 0.765, z - 0.056), (0.063, 0.068, 0.07, 0.058),
                      locks, depth=0.62, caps=(0.035, 0.02))],
        "bob": [Tube((0, 0.952, z - 0.018), (0, 0.865, z - 0.03), (0.062, 0.075, 0.076), locks,
                     depth=0.72, caps=(0.038, 0.015))],
        "ponytail": [Tube((0, 0.95, z - 0.065), (0, 0.80, z - 0.105), (0.02, 0.03, 0.028, 0.012),
                          locks)],
        "bun": [Tube((0, 0.985, z - 0.045), (0, 0.97, z - 0.05), (0.034, 0.034), locks,
                     caps=(0.022, 0.022))],
        "curls": [Tube((0, 0.97, z - 0.026), (0, 0.925, z - 0.032), (0.07, 0.084, 0.072), locks,
                       depth=0.9, caps=(0.035, 0.035))],
    }.get(person.hair_style, [])  # fmt: skip


def _hat(person: Appearance, z: float) -> list[Tube]:
    felt = cloth.flat(CLOTH[person.hat_color])
    dome = Tube((0, 0.98, z + 0.006), (0, 0.95, z + 0.006), (0.063, 0.068), felt,
                depth=1.1, caps=(0.036, 0.004))  # fmt: skip
    peak = Tube((0, 0.959, z + 0.062), (0, 0.95, z + 0.062), (0.05, 0.056), felt,
                caps=(0.005, 0.004))  # fmt: skip
    disc = Tube((0, 0.962, z), (0, 0.948, z), (0.115, 0.125), felt, caps=(0.006, 0.004))
    bobble = Tube((0, 1.035, z), (0, 1.02, z), (0.024, 0.026), cloth.flat((225, 230, 232)))
    return {"cap": [dome, peak], "beanie": [dome, bobble], "brim": [dome, disc]}.get(person.hat, [])


@lru_cache(maxsize=512)
def _upper_cloth(person: Appearance, sleeve: bool) -> np.ndarray:
    first, second = CLOTH[person.upper_color], CLOTH[person.upper_second]
    repeat = person.repeat * (0.6 if sleeve else 1.0)
    texture = cloth.patterned(person.upper_pattern, first, second, repeat=repeat, sleeve=sleeve)
    if not sleeve:
        _tailor(texture, person)
    return cloth.woven(texture)


def _tailor(texture: np.ndarray, person: Appearance) -> None:
    """Draw neckline, zip, hem and bag straps, in place."""
    angle, v = cloth.from_front(), cloth.down()
    if person.upper_kind in ("tee", "dress"):
        cloth.fill(texture, np.abs(angle) < 0.5 - 3.5 * v, SKIN[person.skin])
    if person.upper_kind in _JACKETS:
        dark = cloth.scale_color(CLOTH[person.upper_color], 0.55)
        cloth.fill(texture, (np.abs(angle) < 0.03) | (v > 0.965), dark)
    strap = CLOTH[person.bag_color]
    if person.bag == "backpack":
        cloth.fill(texture, (np.abs(np.abs(angle) - 0.62) < 0.12) & (v < 0.6), strap)
    elif person.bag == "shoulder":
        # From the far shoulder down to the bag, across chest and back.
        side = -1 if person.left else 1
        behind = (np.pi - np.abs(angle)) * np.sign(angle)
        across = np.where(np.abs(angle) < np.pi / 2, angle, behind) * side
        cloth.fill(texture, (np.abs(across - (2.2 * v - 0.9)) < 0.1) & (v < 0.8), strap)


def torso(person: Appearance, lean: float) -> list[Tube]:
    """Return the upper garment from neck to hem, collar, hips and skirt."""
    shoulder, hip = shoulder_width(person), hip_width(person)
    waist = 0.087 * person.girth
    loose = 1.1 if person.upper_kind in _JACKETS else 1.03
    long = person.upper_kind in _LONG
    hem, flare = _LONG.get(person.upper_kind, (0.46 if loose > 1.05 else 0.485, 1.0))
    outline = (
        (NECK, 0.040), (0.815, 0.072), (0.80, 0.86 * shoulder), (0.78, 0.98 * shoulder),
        (0.745, 1.0 * shoulder), (0.70, 0.95 * shoulder), (0.61, waist), (0.53, hip),
        (hem, hip * flare),
    )  # fmt: skip
    heights, widths = np.array(outline)[::-1].T
    widths = loose * np.interp(np.linspace(NECK, hem, 40), heights, widths)
    tubes = [
        Tube((0, NECK, lean * 0.4), (0, hem, 0), tuple(widths), _upper_cloth(person, False),
             depth=0.68, caps=(0.008, 0.012), over=0.05 if long else 0.025),
        Tube((0, 0.56, 0), (0, 0.475, 0), (waist, hip, hip * 0.98), lower_cloth(person),
             depth=0.72, caps=(0.02, 0.03)),
    ]  # fmt: skip
    if person.upper_kind in (*_JACKETS, "shirt"):
        dark = cloth.scale_color(CLOTH[person.upper_color], 0.7)
        tubes.append(Tube((0, NECK + 0.018, lean * 0.4), (0, NECK - 0.012, lean * 0.4),
                          (0.041, 0.05), cloth.flat(dark), caps=(0.004, 0.01)))  # fmt: skip
    if person.lower_kind == "skirt" and not long:
        widths = _scaled(hip, 0.9, 1.05, 1.18, 1.28)
        tubes.append(Tube((0, 0.56, 0), (0, 0.31, 0), widths, lower_cloth(person), depth=0.8,
                          caps=(0.01, 0.008), over=0.045))  # fmt: skip
    return tubes


@lru_cache(maxsize=512)
def lower_cloth(person: Appearance) -> np.ndarray:
    """Return the texture of trousers, skirt or shorts."""
    first = CLOTH[person.lower_color]
    if sum(first) < 380:
        blue, green, red = cloth.scale_color(first, 0.75)
        second = (255 - blue, 255 - green, 255 - red)
    else:
        second = cloth.scale_color(first, 0.45)
    kind = person.lower_pattern
    texture = cloth.patterned(kind if kind != "stripe" else "plain", first, second, repeat=4.0)
    if kind == "stripe":
        cloth.fill(texture, np.abs(np.abs(cloth.from_front()) - np.pi / 2) < 0.3, second)
    return cloth.woven(texture)


def leg(person: Appearance, joints: Limb) -> list[Tube]:
    """Return thigh, shin and shoe."""
    bare, dressed = cloth.flat(SKIN[person.skin]), lower_cloth(person)
    wide = 0.72 + 0.28 * person.girth
    kind = "skirt" if person.upper_kind == "dress" else person.lower_kind
    shin = _scaled(wide * (1.15 if kind == "trousers" else 1.0), 0.045, 0.044, 0.032)
    tubes = [
        Tube(joints.top, joints.middle, _scaled(wide, 0.056, 0.057, 0.047),
             bare if kind == "skirt" else dressed, caps=(0.03, 0.03)),
        Tube(joints.middle, joints.end, shin, dressed if kind == "trousers" else bare,
             caps=(0.03, 0.012)),
        _shoe(person, joints),
    ]  # fmt: skip
    if kind == "shorts":
        knee = np.array(joints.middle)
        above = tuple(0.85 * knee + 0.15 * np.array(joints.top))
        tubes.append(Tube(joints.top, above, _scaled(wide, 0.06, 0.066, 0.062), dressed))
    return tubes


def _shoe(person: Appearance, joints: Limb) -> Tube:
    x, y, z = joints.end
    lift = float(np.clip((z - joints.middle[2]) * 1.5, -0.06, 0.04))  # toes down behind the body
    leather = cloth.flat(CLOTH[person.shoe_color])
    return Tube((x, y - 0.02, z - 0.02), (1.1 * x, y - 0.026 + lift, z + 0.085),
                (0.028, 0.031, 0.026), leather, caps=(0.024, 0.026))  # fmt: skip


def arm(person: Appearance, joints: Limb) -> list[Tube]:
    """Return upper arm, forearm and hand."""
    wide = 0.7 + 0.3 * person.girth
    skin, sleeve = cloth.flat(SKIN[person.skin]), _upper_cloth(person, True)
    bare = person.upper_kind in ("tee", "dress")
    thick = wide * (1.15 if person.upper_kind in _JACKETS else 1.0)
    wrist, elbow = np.array(joints.end), np.array(joints.middle)
    return [
        Tube(joints.top, joints.middle, _scaled(thick, 0.037, 0.039, 0.033), sleeve,
             caps=(0.026, 0.02)),
        Tube(joints.middle, joints.end, _scaled(wide if bare else thick, 0.031, 0.023),
             skin if bare else sleeve, caps=(0.02, 0.01)),
        Tube(joints.end, tuple(wrist + 0.22 * (wrist - elbow)), (0.02, 0.023, 0.018), skin,
             caps=(0.012, 0.016)),
    ]  # fmt: skip


def luggage(person: Appearance, hand: Point) -> list[Tube]:
    """Return the bag; `hand` is the wrist on its side of the body."""
    leather = cloth.bag(CLOTH[person.bag_color])
    x, y, z = hand[0], hand[1] - 0.03, hand[2]
    hip = (1 if person.left else -1) * (hip_width(person) + 0.045)
    case = (1.2 * x, 0.31, z - 0.13)
    return {
        "backpack": [Tube((0, 0.785, -0.105), (0, 0.57, -0.12), (0.075, 0.092, 0.095, 0.09),
                          leather, depth=0.66, caps=(0.03, 0.02), square=True)],
        "handbag": [Tube((x, y - 0.05, z), (x, y - 0.135, z), (0.022, 0.026), leather, depth=3.4,
                         caps=(0.006, 0.005), square=True),
                    Tube((x, y, z), (x, y - 0.06, z), (0.008, 0.02), leather, depth=2.2,
                         caps=(0.004, 0.004))],
        "shoulder": [Tube((hip, 0.56, -0.01), (hip, 0.45, -0.01), (0.034, 0.036), leather,
                          depth=2.4, caps=(0.008, 0.008), square=True)],
        "shopping": [Tube((x, y - 0.02, z), (x, y - 0.2, z), (0.034, 0.036), leather, depth=2.8,
                          caps=(0.003, 0.003), square=True)],
        "suitcase": [Tube(case, (case[0], 0.05, case[2]), (0.085, 0.085), leather, depth=0.6,
                          caps=(0.01, 0.01), square=True),
                     Tube((x, y, z), case, (0.007, 0.007), cloth.flat((60, 60, 60)))],
    }.get(person.bag, [])  # fmt: skip
