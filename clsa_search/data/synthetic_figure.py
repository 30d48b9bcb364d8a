"""Draws one person: an appearance and a pose become tubes, the tubes a cut-out picture.

Body frame and statures as in `synthetic_solids`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from . import synthetic_textures as cloth
from .synthetic_people import CLOTH, HAIR, SKIN, Appearance, Pose
from .synthetic_solids import PITCH, Canvas, Tube

Point = tuple[float, float, float]

_THIGH, _SHIN, _UPPER_ARM, _FOREARM = 0.245, 0.235, 0.165, 0.145
_HIP_HEIGHT, _SHOULDER_HEIGHT = 0.525, 0.778
_SMALLEST_CANVAS = 110  # pixels of stature below which limbs would be too thin to paint
_LONG = {"coat": (0.29, 1.22), "dress": (0.31, 1.5)}  # hem height, flare of the hem


@dataclass(frozen=True)
class _Limb:
    """Three joints: hip, knee, ankle or shoulder, elbow, wrist."""

    top: Point
    middle: Point
    end: Point


def draw_person(
    appearance: Appearance,
    pose: Pose,
    *,
    height: int,
    light: tuple[float, float, float] = (-0.45, 0.6, 0.66),
    stone: cloth.Colour | None = None,
) -> np.ndarray:
    """A cut-out of a person, exactly `height` pixels tall.

    light: direction to the light (right, up, toward the viewer), unit length. stone: a colour in
    which everything is cast, for statues and mannequins.

    Returns (height, width, 4) uint8 blue, green, red, alpha, the colours multiplied by alpha.
    """
    scale = max(1.6 * height, _SMALLEST_CANVAS)
    canvas = Canvas(
        height=int(1.3 * scale), width=int(1.1 * scale), scale=scale, yaw=pose.yaw, light=light
    )
    for tube in _tubes(appearance, pose):
        canvas.paint(tube)
    return _cut_out(canvas, height, stone)


def _cut_out(canvas: Canvas, height: int, stone: cloth.Colour | None) -> np.ndarray:
    alpha = np.isfinite(canvas.depth)
    rows, cols = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    window = np.s_[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    colour = np.minimum(canvas.colour[window], 255)
    if stone is not None:
        grey = colour.mean(axis=2, keepdims=True)
        colour = np.minimum((0.55 + 0.5 * grey / 255) * np.array(stone, np.float32), 255)
    picture = np.dstack([colour, 255.0 * alpha[window]]).astype(np.float32)
    picture[..., :3] *= alpha[window][..., None]
    width = max(round(picture.shape[1] * height / picture.shape[0]), 1)
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return np.clip(small + 0.5, 0, 255).astype(np.uint8)


def _tubes(person: Appearance, pose: Pose) -> list[Tube]:
    legs = [_leg(person, pose, side) for side in (1, -1)]
    arms = [_arm(person, pose, side) for side in (1, -1)]
    tubes = _head(person, pose) + _trunk(person, pose, legs)
    for leg in legs:
        tubes += _dressed_leg(person, leg, pose)
    for arm in arms:
        tubes += _dressed_arm(person, arm)
    return tubes + _luggage(person, pose, arms)


def _swing(top: Point, length: float, forward: float, outward: float = 0.0) -> Point:
    """The end of a bone that hangs from top, swung by angles in radians."""
    x, y, z = top
    hang = length * np.cos(forward)
    return (x + hang * np.sin(outward), y - hang * np.cos(outward), z + length * np.sin(forward))


def _covers_knees(person: Appearance) -> bool:
    return person.upper_kind in _LONG or person.lower_kind == "skirt"


def _leg(person: Appearance, pose: Pose, side: int) -> _Limb:
    phase = pose.phase + (0 if side > 0 else np.pi)
    stride = pose.stride * (0.6 if _covers_knees(person) else 1.0)
    hip = (side * 0.052 * person.girth * person.hips, _HIP_HEIGHT, 0.0)
    thigh = stride * np.sin(phase)
    bend = 0.06 + 1.5 * stride * max(0.0, np.cos(phase)) ** 1.5
    spread = side * 0.03
    knee = _swing(hip, _THIGH, thigh + 0.3 * bend, spread)
    return _Limb(hip, knee, _swing(knee, _SHIN, thigh - 0.7 * bend, spread * 0.4))


def _arm(person: Appearance, pose: Pose, side: int) -> _Limb:
    phase = pose.phase + (np.pi if side > 0 else 0)
    kind = pose.arms[0 if side > 0 else 1]
    reach = 0.112 * (0.6 + 0.4 * person.girth) / person.hips**0.3
    shoulder = (side * reach, _SHOULDER_HEIGHT, pose.lean * 0.3)
    swing = 0.9 * pose.stride * np.sin(phase)
    upper, fore, out, inward = {
        "swing": (swing, swing + 0.25 + 0.5 * pose.stride, 0.12, 0.05),
        "carry": (0.3 * swing, 0.3 * swing + 0.05, 0.14, 0.06),
        "pocket": (-0.35, 0.55, 0.28, -0.35),
        "phone": (0.35, 2.2, 0.25, -0.5),
        "hip": (-0.3, 0.5, 0.75, -0.9),
    }[kind]
    elbow = _swing(shoulder, _UPPER_ARM, upper, side * out)
    return _Limb(shoulder, elbow, _swing(elbow, _FOREARM, fore, side * inward))


def _head(person: Appearance, pose: Pose) -> list[Tube]:
    z = pose.lean * 0.6
    skin, hair = SKIN[person.skin], HAIR[person.hair_colour]
    face = cloth.head(skin, hair, person.hair_style, person.beard)
    locks = cloth.woven(cloth.plain(hair))
    tubes = [
        Tube((0, 0.955, z + 0.01), (0, 0.895, z + 0.012), (0.056, 0.062, 0.060, 0.050), face,
             depth=1.12, caps=(0.036, 0.036)),
        Tube((0, 0.88, z), (0, 0.81, z * 0.5), (0.034, 0.038), cloth.plain(skin)),
    ]  # fmt: skip
    tubes += {
        "long": [
            Tube((0, 0.95, z - 0.022), (0, 0.765, z - 0.052), (0.06, 0.066, 0.068, 0.058), locks,
                 depth=0.62, caps=(0.035, 0.02)),
        ],
        "bob": [
            Tube((0, 0.952, z - 0.018), (0, 0.865, z - 0.03), (0.06, 0.072, 0.074), locks,
                 depth=0.72, caps=(0.038, 0.015)),
        ],
        "ponytail": [
            Tube((0, 0.95, z - 0.065), (0, 0.80, z - 0.105), (0.02, 0.03, 0.028, 0.012), locks),
        ],
        "bun": [Tube((0, 0.985, z - 0.045), (0, 0.97, z - 0.05), (0.034, 0.034), locks,
                     caps=(0.022, 0.022))],
        "curls": [
            Tube((0, 0.97, z - 0.024), (0, 0.925, z - 0.03), (0.068, 0.082, 0.07), locks,
                 depth=0.9, caps=(0.035, 0.035)),
        ],
    }.get(person.hair_style, [])  # fmt: skip
    return tubes + _hat(person, z)


def _hat(person: Appearance, z: float) -> list[Tube]:
    felt = cloth.woven(cloth.plain(CLOTH[person.hat_colour]))
    dome = Tube((0, 0.975, z + 0.006), (0, 0.945, z + 0.006), (0.062, 0.066), felt,
                depth=1.1, caps=(0.036, 0.004))  # fmt: skip
    brim = Tube((0, 0.95, z + 0.05), (0, 0.942, z + 0.12), (0.05, 0.045), felt, depth=0.18)
    disc = Tube((0, 0.958, z), (0, 0.942, z), (0.115, 0.125), felt, caps=(0.006, 0.004))
    return {"cap": [dome, brim], "beanie": [dome], "brim": [dome, disc]}.get(person.hat, [])


@lru_cache(maxsize=512)
def _upper_cloth(person: Appearance, *, sleeve: bool = False) -> np.ndarray:
    first, second = CLOTH[person.upper_colour], CLOTH[person.upper_second]
    repeat = person.repeat * (0.6 if sleeve else 1.0)
    texture = cloth.patterned(person.upper_pattern, first, second, repeat=repeat, sleeve=sleeve)
    if sleeve:
        return cloth.woven(texture)
    angle, v = cloth.from_front(), cloth.down()
    if person.upper_kind in ("tee", "dress", "shirt"):
        cloth.fill(texture, np.abs(angle) < 0.5 - 3.2 * v, SKIN[person.skin])
    dark = tuple(int(0.6 * c) for c in first)
    if person.upper_kind in ("jacket", "coat"):
        cloth.fill(texture, (np.abs(angle) < 0.03) | (v > 0.965), dark)
        cloth.fill(texture, (v < 0.09) & (np.abs(angle) > 0.35), dark)
    strap = CLOTH[person.bag_colour]
    if person.bag == "backpack":
        cloth.fill(texture, (np.abs(np.abs(angle) - 0.62) < 0.12) & (v < 0.6), strap)
    elif person.bag == "shoulder":
        side = -1 if person.left else 1  # columns left of the front are the body's left
        front = np.abs(angle * side - (2.2 * v - 0.9)) < 0.1
        back = np.abs((np.pi - np.abs(angle)) * np.sign(angle) * side - (2.2 * v - 0.9)) < 0.1
        cloth.fill(texture, np.where(np.abs(angle) < np.pi / 2, front, back) & (v < 0.8), strap)
    return cloth.woven(texture)


def _trunk(person: Appearance, pose: Pose, legs: list[_Limb]) -> list[Tube]:
    wide, hips = person.girth, person.hips
    neck = (0.0, 0.822, pose.lean * 0.4)
    shoulder = 0.122 * (0.6 + 0.4 * wide) / hips**0.3
    waist, hip = 0.088 * wide, 0.094 * wide * hips
    loose = 1.1 if person.upper_kind in ("jacket", "coat") else 1.0
    slope = tuple(shoulder * part for part in (0.78, 0.98, 0.96))
    above = (0.042, *slope, (shoulder + waist) / 2, waist)
    hem, flare = _LONG.get(person.upper_kind, (0.455 if loose > 1 else 0.485, 1.0))
    below = (waist, hip, hip * (1 + 0.5 * (flare - 1)), hip * flare)
    below = below if person.upper_kind in _LONG else (waist, (waist + hip) / 2, hip)
    profile = np.interp(
        np.linspace(0.822, hem, 16),
        *_ascending(np.r_[np.linspace(0.822, 0.62, 6), np.linspace(0.60, hem, len(below))],
                    np.r_[above, below]),
    )  # fmt: skip
    tubes = [
        Tube(neck, (0, hem, 0), tuple(loose * profile), _upper_cloth(person), depth=0.66,
             caps=(0.015, 0.012), over=0.05 if person.upper_kind in _LONG else 0.025),
        Tube((0, 0.56, 0), (0, 0.475, 0), (waist, hip, hip * 0.98), _lower_cloth(person),
             depth=0.72, caps=(0.02, 0.03)),
    ]  # fmt: skip
    if person.lower_kind == "skirt" and person.upper_kind != "dress":
        widths = (waist, hip * 1.05, hip * 1.2, hip * 1.32)
        tubes.append(Tube((0, 0.56, 0), (0, 0.31, 0), widths, _lower_cloth(person), depth=0.8,
                          caps=(0.01, 0.008), over=0.045))  # fmt: skip
    return tubes


def _ascending(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(x)
    return x[order], y[order]


@lru_cache(maxsize=256)
def _lower_cloth(person: Appearance) -> np.ndarray:
    first = CLOTH[person.lower_colour]
    second = tuple(255 - int(0.75 * c) if sum(first) < 380 else int(0.45 * c) for c in first)
    kind = person.lower_pattern
    texture = cloth.patterned(kind if kind != "stripe" else "plain", first, second, repeat=4.0)
    if kind == "stripe":
        cloth.fill(texture, np.abs(np.abs(cloth.from_front()) - np.pi / 2) < 0.3, second)
    return cloth.woven(texture)


def _dressed_leg(person: Appearance, leg: _Limb, pose: Pose) -> list[Tube]:
    bare = cloth.plain(SKIN[person.skin])
    wide = 0.75 + 0.25 * person.girth
    kind = "skirt" if person.upper_kind == "dress" else person.lower_kind
    trousers = _lower_cloth(person)
    thigh = trousers if kind != "skirt" else bare
    shin = trousers if kind == "trousers" else bare
    loose = 1.15 if kind == "trousers" else 1.0
    foot = leg.end
    lift = np.clip((foot[2] - leg.middle[2]) * 1.5, -0.06, 0.04)
    heel, toe = (foot[0], foot[1] - 0.02, foot[2] - 0.02), (
        foot[0] * 1.1, foot[1] - 0.026 + lift, foot[2] + 0.085)  # fmt: skip
    shoe = cloth.plain(CLOTH[person.shoe_colour])
    tubes = [
        Tube(leg.top, leg.middle, tuple(wide * np.array((0.062, 0.058, 0.047))), thigh,
             caps=(0.03, 0.03)),
        Tube(leg.middle, leg.end, tuple(wide * loose * np.array((0.045, 0.044, 0.032))), shin,
             caps=(0.03, 0.012)),
        Tube(heel, toe, (0.028, 0.03, 0.024), shoe, caps=(0.024, 0.03)),
    ]  # fmt: skip
    if kind == "shorts":
        above = tuple(0.85 * k + 0.15 * h for k, h in zip(leg.middle, leg.top, strict=True))
        tubes.append(Tube(leg.top, above, tuple(wide * np.array((0.068, 0.066, 0.062))), trousers))
    return tubes


def _dressed_arm(person: Appearance, arm: _Limb) -> list[Tube]:
    wide = 0.7 + 0.3 * person.girth
    skin = cloth.plain(SKIN[person.skin])
    sleeve = _upper_cloth(person, sleeve=True)
    bare = person.upper_kind in ("tee", "dress")
    thick = 1.18 if person.upper_kind in ("jacket", "coat") else 1.0
    hand = tuple(w + 0.22 * (w - e) for w, e in zip(arm.end, arm.middle, strict=True))
    return [
        Tube(arm.top, arm.middle, tuple(thick * wide * np.array((0.038, 0.038, 0.032))), sleeve,
             caps=(0.034, 0.02)),
        Tube(arm.middle, arm.end, tuple((1 if bare else thick) * wide * np.array((0.031, 0.023))),
             skin if bare else sleeve, caps=(0.02, 0.01)),
        Tube(arm.end, hand, (0.02, 0.022, 0.018), skin, caps=(0.012, 0.016)),
    ]  # fmt: skip


def _luggage(person: Appearance, pose: Pose, arms: list[_Limb]) -> list[Tube]:
    leather = cloth.woven(cloth.plain(CLOTH[person.bag_colour]))
    cloth.fill(leather, np.abs(cloth.down() - 0.36) < 0.02, (40, 40, 40))
    side = 1 if person.left else -1
    x, y, z = arms[0 if person.left else 1].end
    y -= 0.03
    hip = side * 0.135 * person.girth
    return {
        "backpack": [Tube((0, 0.775, -0.105), (0, 0.57, -0.12), (0.075, 0.092, 0.095, 0.09),
                          leather, depth=0.66, caps=(0.03, 0.025))],
        "handbag": [Tube((x, y - 0.05, z), (x, y - 0.125, z), (0.02, 0.024), leather, depth=3.2,
                         caps=(0.012, 0.01)),
                    Tube((x, y, z), (x, y - 0.06, z), (0.008, 0.02), leather, depth=2.0,
                         caps=(0.004, 0.004))],
        "shoulder": [Tube((hip, 0.56, -0.01), (hip, 0.46, -0.01), (0.032, 0.036), leather,
                          depth=2.2, caps=(0.015, 0.015))],
        "shopping": [Tube((x, y - 0.01, z), (x, y - 0.19, z), (0.03, 0.036, 0.036), leather,
                          depth=2.6, caps=(0.004, 0.004))],
        "suitcase": [Tube((x * 1.25, 0.31, z - 0.13), (x * 1.25, 0.05, z - 0.13), (0.075, 0.078),
                          leather, depth=0.5, caps=(0.012, 0.012)),
                     Tube((x, y, z), (x * 1.25, 0.31, z - 0.13), (0.008, 0.008), leather)],
    }.get(person.bag, [])  # fmt: skip


__all__ = ["PITCH", "draw_person"]
