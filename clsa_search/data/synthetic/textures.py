"""Textures of cloth, hair and skin for tubes.

A texture is (ROWS, COLUMNS, 3) uint8 BGR in the layout of `solids`; a color is (blue, green, red),
0-255.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

ROWS, COLUMNS = 96, 192
Color = tuple[int, int, int]

PATTERNS = ("plain", "bands", "stripes", "checks", "dots", "blocks", "logo", "open")


@lru_cache(maxsize=1)
def _wrinkles() -> np.ndarray:
    """Return (ROWS, COLUMNS, 3) factors near 1: folds and grain, equal for all cloth."""
    rng = np.random.default_rng(7)
    folds = cv2.resize(rng.normal(size=(9, 12)), (COLUMNS, ROWS), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(size=(ROWS, COLUMNS))
    factors = 1.01 + 0.07 * np.tanh(folds) + 0.02 * grain
    return np.repeat(factors[..., None], 3, axis=2).astype(np.float32)


def woven(texture: np.ndarray) -> np.ndarray:
    """Return the texture with folds and grain."""
    return cv2.multiply(texture, _wrinkles(), dtype=cv2.CV_8U)


def scale_color(color: Color, factor: float) -> Color:
    """Return a brighter or darker color, at most 255."""
    blue, green, red = (int(min(c * factor, 255)) for c in color)
    return blue, green, red


def flat(color: Color) -> np.ndarray:
    """Return a texture of one color in a single pixel."""
    return np.array([[color]], np.uint8)


def _plain(color: Color) -> np.ndarray:
    texture = np.empty((ROWS, COLUMNS, 3), np.uint8)
    texture[:] = np.array(color, np.uint8)
    return texture


def bag(color: Color) -> np.ndarray:
    """Return a leather texture with the dark line of a flap."""
    texture = _plain(color)
    fill(texture, np.abs(down() - 0.3) < 0.02, scale_color(color, 0.4))
    return woven(texture)


def from_front() -> np.ndarray:
    """Return (1, COLUMNS) angles from the front, in [-pi, pi) radians; the left side is < 0."""
    columns = (np.arange(COLUMNS) + 0.5) / COLUMNS * 2 * np.pi - np.pi / 2
    return ((columns + np.pi) % (2 * np.pi) - np.pi)[None]


def down() -> np.ndarray:
    """Return (ROWS, 1) positions along the axis, 0-1."""
    return ((np.arange(ROWS) + 0.5) / ROWS)[:, None]


def fill(texture: np.ndarray, where: np.ndarray, color: Color | np.ndarray) -> None:
    """Color the texture in place inside a mask that broadcasts to (ROWS, COLUMNS)."""
    texture[np.broadcast_to(where, texture.shape[:2])] = color


def patterned(
    pattern: str, first: Color, second: Color, *, repeat: float, sleeve: bool = False
) -> np.ndarray:
    """Return cloth of one of `PATTERNS` in two colors.

    Args:
        pattern: name of the pattern.
        first: color of the cloth.
        second: color of the pattern.
        repeat: repeats of the pattern along the axis.
        sleeve: True leaves out chest and back details, and takes the second color of "blocks".
    """
    angle, v = from_front(), down()
    around = repeat * 0.9 * (COLUMNS / ROWS)
    u = (np.arange(COLUMNS)[None] + 0.5) / COLUMNS
    texture = _plain(first)
    if pattern == "bands":
        fill(texture, v * repeat % 1 < 0.5, second)
    elif pattern == "stripes":
        fill(texture, u * around % 1 < 0.42, second)
    elif pattern == "checks":
        mixed = (np.array(first) + second) // 2
        rows, columns = v * repeat % 1 < 0.5, u * around % 1 < 0.5
        fill(texture, rows ^ columns, mixed)
        fill(texture, rows & columns, second)
    elif pattern == "dots":
        row = np.floor(v * repeat)
        x, y = (u * around + 0.5 * (row % 2)) % 1 - 0.5, v * repeat % 1 - 0.5
        fill(texture, x * x + y * y < 0.1, second)
    elif pattern == "blocks":
        fill(texture, np.full_like(v, sleeve, bool) | (v < 0.42), second)
    elif pattern == "logo" and not sleeve:
        fill(texture, (np.abs(angle) < 0.55) & (np.abs(v - 0.42) < 0.14), second)
        fill(texture, (np.abs(angle) > 2.3) & (np.abs(v - 0.42) < 0.20), second)
    elif pattern == "open" and not sleeve:
        fill(texture, np.abs(angle) < 0.5 - 0.15 * v, second)
    return texture


def head(skin: Color, hair: Color, style: str, beard: bool) -> np.ndarray:
    """Return a face under hair of a style: bald, short, or long (any other)."""
    angle, v = np.abs(from_front()), down()
    texture = _plain(skin)
    lips = int(skin[0] * 0.72), int(skin[1] * 0.6), int(skin[2] * 0.85)
    for where in (0.33, -0.33):
        eye = (np.abs(from_front() - where) < 0.13) & (np.abs(v - 0.50) < 0.03)
        brow = (np.abs(from_front() - where) < 0.2) & (np.abs(v - 0.42) < 0.018)
        fill(texture, eye | brow, (30, 28, 26))
    fill(texture, (angle < 0.12) & (np.abs(v - 0.62) < 0.03), lips)
    fill(texture, (angle < 0.26) & (np.abs(v - 0.76) < 0.025), lips)
    if beard:
        fill(texture, (angle < 1.7) & (v > 0.66 + 0.08 * (angle < 0.22)), hair)
    if style != "bald":
        nape = 0.74 if style == "short" else 1.0
        fill(texture, (v < 0.27) | ((angle > 1.15) & (v < nape - 0.25 * (angle < 1.9))), hair)
    return texture
