"""Street furniture and distractors that resemble people, as cut-outs.

A cut-out is (height, width, 4) uint8 blue, green, red, alpha; colors are multiplied by alpha. Its
lower edge is on the ground.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from clsa_search.data.synthetic.appearance import CLOTH, sample_appearance, sample_pose
from clsa_search.data.synthetic.person import draw_person
from clsa_search.data.synthetic.textures import Color, scale_color

_MIN_UNIT, _MAX_UNIT = 60, 480  # pixels per stature on the board
_METAL = (70, 74, 78)


def draw_prop(rng: np.random.Generator, kind: str, stature: float) -> np.ndarray:
    """Draw a cut-out of one of `PROPS`.

    Args:
        rng: random generator.
        kind: key of `PROPS`.
        stature: height of an adult beside it, in pixels.
    """
    size, paint = PROPS[kind]
    unit = int(np.clip(1.5 * stature, _MIN_UNIT, _MAX_UNIT))
    board = np.zeros((int(size[1] * unit), int(size[0] * unit), 4), np.uint8)
    paint(board, rng)
    height = max(int(size[1] * stature), 3)
    width = max(int(size[0] * stature), 2)
    shrinking = height < board.shape[0]
    how = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    small = cv2.resize(board, (width, height), interpolation=how).astype(np.float32)
    small[..., :3] *= rng.normal(1, 0.04, (height, width, 1))
    small[..., :3] = np.minimum(small[..., :3], small[..., 3:])
    return np.clip(small, 0, 255).astype(np.uint8)


def _any_color(rng: np.random.Generator) -> Color:
    names = list(CLOTH)
    return CLOTH[names[int(rng.integers(len(names)))]]


def _opaque(color: Sequence[float], factor: float = 1.0) -> tuple[float, float, float, float]:
    blue, green, red = (min(c * factor, 255.0) for c in color)
    return blue, green, red, 255.0


def _bar(
    board: np.ndarray, left: float, top: float, right: float, bottom: float, color: Color
) -> None:
    """Draw a round upright bar, lit from the left; lengths are fractions of the board."""
    height, width = board.shape[:2]
    x0, x1 = int(left * width), max(int(right * width), int(left * width) + 1)
    rows = slice(int(top * height), int(bottom * height))
    across = np.linspace(-1, 1, x1 - x0)
    shade = 0.55 + 0.5 * np.sqrt(np.maximum(1 - (across + 0.25) ** 2 / 1.6, 0))
    tone = np.minimum(np.array(color)[None] * shade[:, None], 255)
    board[rows, x0:x1, :3] = tone[None]
    board[rows, x0:x1, 3] = 255


def _box(
    board: np.ndarray, left: float, top: float, right: float, bottom: float, color: Color
) -> None:
    height, width = board.shape[:2]
    corners = (int(left * width), int(top * height)), (int(right * width), int(bottom * height))
    cv2.rectangle(board, *corners, _opaque(color), -1)


def _lamp(board: np.ndarray, rng: np.random.Generator) -> None:
    tone = _METAL if rng.random() < 0.5 else (64, 84, 58)
    _bar(board, 0.44, 0.08, 0.56, 1.0, tone)
    _bar(board, 0.36, 0.92, 0.64, 1.0, tone)
    _bar(board, 0.2, 0.02, 0.8, 0.11, (190, 225, 238))
    _bar(board, 0.15, 0.0, 0.85, 0.025, tone)


def _bin(board: np.ndarray, rng: np.random.Generator) -> None:
    tone = ((60, 92, 52), (84, 84, 88), (52, 78, 120))[int(rng.integers(3))]
    _bar(board, 0.08, 0.12, 0.92, 1.0, tone)
    _bar(board, 0.02, 0.04, 0.98, 0.16, scale_color(tone, 0.75))
    _box(board, 0.25, 0.22, 0.75, 0.32, (24, 24, 24))


def _bollard(board: np.ndarray, rng: np.random.Generator) -> None:
    tone = ((60, 60, 62), (150, 152, 156), (48, 60, 150))[int(rng.integers(3))]
    _bar(board, 0.2, 0.1, 0.8, 1.0, tone)
    _bar(board, 0.2, 0.22, 0.8, 0.32, (215, 218, 222))
    height, width = board.shape[:2]
    cv2.circle(board, (width // 2, int(0.1 * height)), int(0.3 * width), _opaque(tone, 0.9), -1)


def _bench(board: np.ndarray, rng: np.random.Generator) -> None:
    wood = (60, 92, 132) if rng.random() < 0.6 else (84, 96, 84)
    for left in (0.08, 0.86):
        _bar(board, left, 0.1, left + 0.05, 1.0, _METAL)
    for top in (0.0, 0.16, 0.32):
        _box(board, 0.0, top, 1.0, top + 0.11, wood)
    _box(board, 0.0, 0.54, 1.0, 0.66, scale_color(wood, 1.15))


def _sign(board: np.ndarray, rng: np.random.Generator) -> None:
    height, width = board.shape[:2]
    _bar(board, 0.45, 0.1, 0.55, 1.0, (140, 142, 146))
    center, radius = (width // 2, int(0.45 * width)), int(0.45 * width)
    if rng.random() < 0.5:
        tone, inner = ((40, 40, 196), (236, 236, 236))
    else:
        tone, inner = ((150, 84, 30), (150, 84, 30))
    cv2.circle(board, center, radius, _opaque(tone), -1)
    cv2.circle(board, center, int(0.7 * radius), _opaque(inner), -1)
    left, right = center[0] - radius // 2, center[0] + radius // 2
    low, high = center[1] - radius // 8, center[1] + radius // 8
    cv2.rectangle(board, (left, low), (right, high), _opaque((235, 235, 235)), -1)


def _car(board: np.ndarray, rng: np.random.Generator) -> None:
    height, width = board.shape[:2]
    paint = _any_color(rng)
    hull = np.array([(0.01, 0.82), (0.01, 0.5), (0.07, 0.43), (0.22, 0.40), (0.34, 0.06),
                     (0.42, 0.02), (0.66, 0.02), (0.74, 0.07), (0.86, 0.40), (0.96, 0.45),
                     (0.99, 0.56), (0.99, 0.82)])  # fmt: skip
    cv2.fillPoly(board, [_to_pixels(hull, width, height)], _opaque(paint))
    lower = np.array([(0.01, 0.62), (0.99, 0.62), (0.99, 0.84), (0.01, 0.84)])
    cv2.fillPoly(board, [_to_pixels(lower, width, height)], _opaque(paint, 0.72))
    for pane in (
        [(0.26, 0.40), (0.36, 0.10), (0.51, 0.09), (0.51, 0.40)],
        [(0.53, 0.40), (0.53, 0.09), (0.68, 0.10), (0.81, 0.40)],
    ):
        cv2.fillPoly(board, [_to_pixels(np.array(pane), width, height)], _opaque((96, 84, 74)))
    for x in (0.2, 0.79):
        center = (int(x * width), int(0.81 * height))
        cv2.circle(board, center, int(0.18 * height), _opaque((28, 28, 28)), -1)
        cv2.circle(board, center, int(0.1 * height), _opaque((150, 152, 154)), -1)
    if rng.random() < 0.5:
        board[:] = board[:, ::-1].copy()


def _to_pixels(points: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.round(points * (width - 1, height - 1)).astype(np.int32)


def _leaves(
    board: np.ndarray, rng: np.random.Generator, top: float, bottom: float, count: int
) -> None:
    height, width = board.shape[:2]
    tint = rng.uniform(0.8, 1.2)
    for number in range(count):
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1))
        x = 0.5 + 0.36 * reach * np.cos(angle)
        y = (top + bottom) / 2 + 0.38 * (bottom - top) * reach * np.sin(angle)
        bright = 0.5 + 0.6 * number / count - 0.35 * (y - top) / (bottom - top)
        tone = tuple(c * max(bright, 0.25) * tint for c in (64, 140, 96))
        center = (int(x * width), int(y * height))
        cv2.circle(board, center, int(rng.uniform(0.05, 0.13) * width), _opaque(tone), -1)


def _tree(board: np.ndarray, rng: np.random.Generator) -> None:
    _bar(board, 0.46, 0.5, 0.54, 1.0, (52, 74, 96))
    _leaves(board, rng, 0.0, 0.68, 130)


def _bush(board: np.ndarray, rng: np.random.Generator) -> None:
    _leaves(board, rng, 0.04, 1.06, 110)


def _stand_in(board: np.ndarray, figure: np.ndarray, foot: float) -> None:
    """Draw a centered cut-out with its feet at a fraction of the board's height, in place."""
    bottom = int(foot * board.shape[0])
    figure = figure[-bottom:]
    left = (board.shape[1] - figure.shape[1]) // 2
    if left < 0:
        figure, left = figure[:, -left : -left + board.shape[1]], 0
    window = board[bottom - figure.shape[0] : bottom, left : left + figure.shape[1]]
    clear = 1 - figure[..., 3:] / 255.0
    window[:] = (figure + window * clear).astype(np.uint8)


def _statue(board: np.ndarray, rng: np.random.Generator) -> None:
    stone = ((150, 158, 160), (96, 128, 104), (70, 96, 120))[int(rng.integers(3))]
    person = sample_appearance(rng)
    _bar(board, 0.16, 0.70, 0.84, 1.0, (150, 156, 160))
    _box(board, 0.08, 0.67, 0.92, 0.71, (170, 176, 180))
    tall = int(0.67 * board.shape[0])
    figure = draw_person(person, sample_pose(rng, person), height=tall, stone=stone)
    _stand_in(board, figure, 0.68)


def _mannequin(board: np.ndarray, rng: np.random.Generator) -> None:
    person = sample_appearance(rng)
    tone = ((196, 206, 214), (150, 160, 170), (60, 62, 66))[int(rng.integers(3))]
    tall = int(0.96 * board.shape[0])
    figure = draw_person(person, sample_pose(rng, person), height=tall, stone=tone)
    _stand_in(board, figure, 0.98)
    _box(board, 0.25, 0.96, 0.75, 1.0, (90, 92, 96))


def _poster(board: np.ndarray, rng: np.random.Generator) -> None:
    """Draw a stand with a person on it, cropped by its frame."""
    person = sample_appearance(rng)
    _box(board, 0.0, 0.0, 1.0, 0.95, (60, 62, 66))
    blue, green, red = rng.integers(110, 235, 3).tolist()
    _box(board, 0.06, 0.03, 0.94, 0.9, (blue, green, red))
    height, width = board.shape[:2]
    figure = draw_person(person, sample_pose(rng, person), height=int(1.15 * height))
    inner = board[int(0.1 * height) : int(0.9 * height), int(0.06 * width) : int(0.94 * width)]
    figure = figure[: inner.shape[0]]
    _stand_in(inner, figure, 1.0)
    for left in (0.05, 0.85):
        _box(board, left, 0.9, left + 0.1, 1.0, (60, 62, 66))


def _coat_rack(board: np.ndarray, rng: np.random.Generator) -> None:
    height, width = board.shape[:2]
    _bar(board, 0.47, 0.0, 0.53, 0.96, (50, 70, 100))
    _bar(board, 0.25, 0.94, 0.75, 1.0, (50, 70, 100))
    for where in (0.3, 0.66):
        tone, slant = _any_color(rng), rng.uniform(-0.04, 0.04)
        coat = np.array([(where - 0.1, 0.12), (where + 0.12, 0.12), (where + 0.26, 0.3),
                         (where + 0.2 + slant, 0.72), (where - 0.22 + slant, 0.74),
                         (where - 0.22, 0.3)])  # fmt: skip
        cv2.fillPoly(board, [_to_pixels(coat, width, height)], _opaque(tone), cv2.LINE_AA)
        seam = _to_pixels(np.array([(where, 0.13), (where + slant, 0.72)]), width, height)
        cv2.polylines(board, [seam], False, _opaque(tone, 0.6), 2)


# kind: ((width, height) in statures, painter)
PROPS: dict[str, tuple[tuple[float, float], Callable]] = {
    "lamp": ((0.26, 2.5), _lamp),
    "bin": ((0.32, 0.52), _bin),
    "bollard": ((0.16, 0.55), _bollard),
    "bench": ((1.0, 0.5), _bench),
    "sign": ((0.42, 1.4), _sign),
    "car": ((2.4, 0.84), _car),
    "tree": ((1.9, 3.0), _tree),
    "bush": ((0.8, 0.75), _bush),
    "statue": ((0.62, 1.56), _statue),
    "mannequin": ((0.55, 1.0), _mannequin),
    "poster": ((0.62, 1.1), _poster),
    "coat_rack": ((0.6, 1.0), _coat_rack),
}
