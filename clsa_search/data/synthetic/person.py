"""Drawing of one person: the pose sets the joints, the wardrobe dresses them.

Body frame and unit of length as in `solids`.
"""

from __future__ import annotations

import cv2
import numpy as np

from clsa_search.data.synthetic import wardrobe
from clsa_search.data.synthetic.appearance import Appearance, Pose
from clsa_search.data.synthetic.solids import Canvas, Point, Tube
from clsa_search.data.synthetic.textures import Color

_THIGH, _SHIN, _UPPER_ARM, _FOREARM = 0.245, 0.235, 0.165, 0.145
_HIP_HEIGHT, _SHOULDER_HEIGHT = 0.525, 0.778
_SMALLEST_CANVAS = 110  # pixels of stature; limbs are too thin to paint below
_OVERSAMPLING = 1.6


def draw_person(
    appearance: Appearance,
    pose: Pose,
    *,
    height: int,
    light: tuple[float, float, float] = (-0.45, 0.6, 0.66),
    stone: Color | None = None,
) -> np.ndarray:
    """Draw a cut-out of a person, exactly `height` pixels tall.

    Args:
        appearance: clothes and body.
        pose: pose of the body.
        height: height in pixels.
        light: unit direction to the light (right, up, toward the viewer).
        stone: color of a statue or mannequin; None draws a living person.

    Returns:
        (height, width, 4) uint8 blue, green, red, alpha; colors are multiplied by alpha.
    """
    scale = max(_OVERSAMPLING * height, _SMALLEST_CANVAS)
    canvas = Canvas(
        height=int(1.3 * scale), width=int(1.1 * scale), scale=scale, yaw=pose.yaw, light=light
    )
    for tube in _tubes(appearance, pose):
        canvas.paint(tube)
    return _cut_out(canvas, height, stone)


def _cut_out(canvas: Canvas, height: int, stone: Color | None) -> np.ndarray:
    """Crop the painted part of the canvas and shrink it with smooth edges."""
    alpha = np.isfinite(canvas.depth)
    rows, cols = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    window = np.s_[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    color, alpha = np.minimum(canvas.color[window], 255), alpha[window]
    if stone is not None:
        gray = color.mean(axis=2, keepdims=True) / 255
        color = np.minimum((0.55 + 0.5 * gray) * np.array(stone, np.float32), 255)
    image = np.empty((*alpha.shape, 4), np.float32)
    np.multiply(color, alpha[..., None], out=image[..., :3])
    image[..., 3] = 255.0 * alpha
    width = max(round(image.shape[1] * height / image.shape[0]), 1)
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.clip(small + 0.5, 0, 255).astype(np.uint8)


def _tubes(person: Appearance, pose: Pose) -> list[Tube]:
    arms = {side: _arm(person, pose, side) for side in (1, -1)}
    tubes = wardrobe.head(person, pose.lean) + wardrobe.torso(person, pose.lean)
    for side, joints in arms.items():
        tubes += wardrobe.leg(person, _leg(person, pose, side))
        tubes += wardrobe.arm(person, joints)
    return tubes + wardrobe.luggage(person, arms[1 if person.left else -1].end)


def _hang(top: Point, length: float, forward: float, outward: float) -> Point:
    """Return the end of a bone hanging from top, swung forward and to the left, in radians."""
    x, y, z = top
    fall = length * np.cos(forward)
    return (x + fall * np.sin(outward), y - fall * np.cos(outward), z + length * np.sin(forward))


def _leg(person: Appearance, pose: Pose, side: int) -> wardrobe.Limb:
    """Return the joints of a leg; side is 1 for the person's left, -1 for the right."""
    phase = pose.phase + (0 if side > 0 else np.pi)
    stride = pose.stride * (0.6 if wardrobe.covers_knees(person) else 1.0)
    hip = (side * 0.5 * wardrobe.hip_width(person), _HIP_HEIGHT, 0.0)
    thigh = stride * np.sin(phase)
    bend = 0.06 + 1.5 * stride * max(0.0, np.cos(phase)) ** 1.5  # of the forward leg
    knee = _hang(hip, _THIGH, thigh + 0.3 * bend, side * 0.03)
    return wardrobe.Limb(hip, knee, _hang(knee, _SHIN, thigh - 0.7 * bend, side * 0.012))


def _arm(person: Appearance, pose: Pose, side: int) -> wardrobe.Limb:
    """Return the joints of an arm; side is 1 for the person's left, -1 for the right."""
    phase = pose.phase + (np.pi if side > 0 else 0)
    reach = 0.9 * wardrobe.shoulder_width(person)
    shoulder = (side * reach, _SHOULDER_HEIGHT, pose.lean * 0.3)
    swing = 0.9 * pose.stride * np.sin(phase)
    # Forward swing of upper arm and forearm, then their outward angles.
    upper, fore, out, out_below = {
        "swing": (swing, swing + 0.25 + 0.5 * pose.stride, 0.13, 0.05),
        "carry": (0.3 * swing, 0.3 * swing + 0.05, 0.16, 0.06),
        "pocket": (-0.35, 0.55, 0.28, -0.35),
        "phone": (0.45, 2.35, 0.25, 0.35),
        "hip": (-0.3, 0.5, 0.75, -0.9),
    }[pose.arms[0 if side > 0 else 1]]
    elbow = _hang(shoulder, _UPPER_ARM, upper, side * out)
    return wardrobe.Limb(shoulder, elbow, _hang(elbow, _FOREARM, fore, side * out_below))
