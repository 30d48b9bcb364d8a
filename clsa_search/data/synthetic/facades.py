"""House fronts with windows and shops; some show mannequins or posters with people."""

from __future__ import annotations

import cv2
import numpy as np

from clsa_search.data.synthetic.appearance import CLOTH, sample_appearance, sample_pose
from clsa_search.data.synthetic.person import draw_person
from clsa_search.data.synthetic.textures import Color, scale_color

_WALLS = (
    (140, 168, 196), (92, 108, 158), (168, 186, 198), (120, 138, 150), (184, 204, 216),
    (110, 126, 118), (150, 140, 128), (96, 120, 170), (200, 206, 206),
)  # fmt: skip
_FLOOR_HEIGHT = 1.75  # statures
_STONE = ((188, 198, 206), (150, 158, 166), (90, 92, 96))


def draw_facade(
    rng: np.random.Generator, height: int, width: int, stature: int, *, lit: bool = False
) -> np.ndarray:
    """Draw a row of houses from the front, with the street at the lower edge.

    Args:
        rng: random generator.
        height: height in pixels.
        width: width in pixels.
        stature: height of an adult in pixels.
        lit: True lights some windows.

    Returns:
        (height, width, 3) uint8 BGR.
    """
    image = np.empty((height, width, 3), np.uint8)
    column = 0
    while column < width:
        wide = max(int(stature * rng.uniform(3.2, 6.5)), 4)
        part = image[:, column : column + wide]
        _house(part, rng, stature, lit)
        column += wide
    grain = rng.normal(1, 0.03, (height, width, 1))
    return np.clip(image * grain, 0, 255).astype(np.uint8)


def _house(part: np.ndarray, rng: np.random.Generator, stature: int, lit: bool) -> None:
    height, width = part.shape[:2]
    wall = _WALLS[int(rng.integers(len(_WALLS)))]
    wall = scale_color(wall, rng.uniform(0.85, 1.1))
    part[:] = wall
    course = max(stature // 8, 2)
    if rng.random() < 0.5 and course > 2:
        part[::course] = scale_color(wall, 0.88)
    floor_height = int(_FLOOR_HEIGHT * stature)
    columns = max(round(width / (1.5 * stature)), 1)
    style = rng.uniform(0.4, 0.62), rng.uniform(0.5, 0.72), rng.random() < 0.4
    for floor in range(1, height // max(floor_height, 1) + 1):
        base = height - floor * floor_height
        cv2.line(part, (0, base), (width, base), scale_color(wall, 0.75), max(stature // 24, 1))
        for column in range(columns):
            center = (column + 0.5) * width / columns
            glass = _glass(rng, lit)
            _window(part, center, base - 0.45 * floor_height, stature, style, glass, wall)
    _shop(part[max(height - floor_height, 0) :], rng, stature, lit)
    part[:, -max(stature // 20, 1) :] = scale_color(wall, 0.55)


def _glass(rng: np.random.Generator, lit: bool) -> Color:
    if lit and rng.random() < 0.4:
        return (int(rng.uniform(110, 150)), int(rng.uniform(190, 220)), int(rng.uniform(230, 250)))
    level = rng.uniform(0.5, 1.3)
    return scale_color((104, 92, 80), level)


def _window(
    part: np.ndarray,
    x: float,
    y: float,
    stature: int,
    style: tuple[float, float, bool],
    glass: Color,
    wall: Color,
) -> None:
    half_wide, half_tall, shutters = style[0] * stature * 0.7, style[1] * stature * 0.7, style[2]
    box = (int(x - half_wide), int(y - half_tall)), (int(x + half_wide), int(y + half_tall))
    frame = max(stature // 14, 1)
    cv2.rectangle(part, *box, glass, -1)
    corner = np.array([box[0], (int(x + 0.3 * half_wide), box[0][1]), (box[0][0], int(y))])
    cv2.fillConvexPoly(part, corner, scale_color(glass, 1.35), cv2.LINE_AA)
    cv2.rectangle(part, *box, (214, 218, 220), frame)
    cv2.line(part, (int(x), box[0][1]), (int(x), box[1][1]), (214, 218, 220), frame)
    sill = (int(x - 1.15 * half_wide), box[1][1])
    cv2.line(part, sill, (int(x + 1.15 * half_wide), box[1][1]), scale_color(wall, 0.7), frame * 2)
    if shutters:
        for side in (-1, 1):
            near, far = x + side * half_wide, x + side * 1.55 * half_wide
            cv2.rectangle(
                part, (int(near), box[0][1]), (int(far), box[1][1]), scale_color(wall, 0.5), -1
            )


def _shop(part: np.ndarray, rng: np.random.Generator, stature: int, lit: bool) -> None:
    """Draw the shop front of the ground floor: sign, awning, door and display."""
    height, width = part.shape[:2]
    if rng.random() < 0.25 or width < stature:
        return
    names = list(CLOTH)
    color = CLOTH[names[int(rng.integers(len(names)))]]
    cv2.rectangle(part, (0, 0), (width, height), scale_color(color, 0.8), -1)
    top, bottom = int(0.36 * height), int(0.93 * height)
    left, right = int(0.06 * width), int(0.68 * width)
    inside = (140, 190, 220) if lit else (120, 124, 122)
    cv2.rectangle(part, (left, top), (right, bottom), inside, -1)
    _display(part[top:bottom, left:right], rng, stature)
    door = (int(0.74 * width), top), (int(0.93 * width), height)
    cv2.rectangle(part, *door, scale_color(inside, 0.55), -1)
    cv2.rectangle(part, *door, scale_color(color, 1.2), max(stature // 16, 1))
    glare = np.array([(left, top), (left + (right - left) // 3, top), (left, bottom)])
    overlay = part.copy()
    cv2.fillConvexPoly(overlay, glare, (235, 232, 228), cv2.LINE_AA)
    part[:] = cv2.addWeighted(overlay, 0.22, part, 0.78, 0)
    _sign(part[: int(0.2 * height)], rng, color)
    if rng.random() < 0.6:
        _awning(part, rng, color, int(0.2 * height), int(0.36 * height))


def _sign(part: np.ndarray, rng: np.random.Generator, color: Color) -> None:
    part[:] = scale_color(color, 0.55)
    words = ("CAFE", "MODE", "BOOKS", "SHOES", "BAKERY", "OPTIK", "FLOWERS", "PHARMA", "TEA")
    word = words[int(rng.integers(len(words)))]
    size = part.shape[0] / 34
    if size > 0.25:
        at = (int(0.12 * part.shape[1]), int(0.8 * part.shape[0]))
        thick = max(int(1.6 * size), 1)
        cv2.putText(part, word, at, cv2.FONT_HERSHEY_DUPLEX, size, (225, 232, 236), thick,
                    cv2.LINE_AA)  # fmt: skip


def _awning(
    part: np.ndarray, rng: np.random.Generator, color: Color, top: int, bottom: int
) -> None:
    stripe = max(part.shape[1] // 14, 2)
    for number, column in enumerate(range(0, part.shape[1], stripe)):
        tone = (226, 230, 232) if number % 2 else scale_color(color, 1.1)
        part[top:bottom, column : column + stripe] = tone
    part[bottom - max((bottom - top) // 6, 1) : bottom] //= 2


def _display(part: np.ndarray, rng: np.random.Generator, stature: int) -> None:
    """Draw mannequins, a poster with a person, or shelves into a shop window."""
    height, width = part.shape[:2]
    kind = rng.choice(("mannequins", "poster", "shelves"))
    if kind == "shelves" or stature < 12:
        for row in range(height // 5, height, max(height // 4, 2)):
            for column in range(2, width - 2, max(width // 9, 3)):
                tone = rng.integers(60, 210, 3).tolist()
                tall = int(height * rng.uniform(0.08, 0.16))
                cv2.rectangle(
                    part, (column, row - tall), (column + max(width // 14, 2), row), tone, -1
                )
        return
    person = sample_appearance(rng)
    tall = min(int(0.9 * stature), height - 2)
    if kind == "poster":
        sheet = part[height // 8 :, width // 3 : 2 * width // 3]
        sheet[:] = rng.integers(120, 235, 3)
        _paste(sheet, draw_person(person, sample_pose(rng, person), height=int(1.2 * tall)), 0.5)
        return
    for where in (0.25, 0.65):
        stone = _STONE[int(rng.integers(len(_STONE)))] if rng.random() < 0.5 else None
        figure = draw_person(person, sample_pose(rng, person), height=tall, stone=stone)
        _paste(part, figure, where)


def _paste(part: np.ndarray, figure: np.ndarray, where: float) -> None:
    """Draw a cut-out on the lower edge of an image, cropped at its borders, in place."""
    height = min(figure.shape[0], part.shape[0])
    left = max(int(where * part.shape[1] - figure.shape[1] / 2), 0)
    figure = figure[:height, : part.shape[1] - left]
    window = part[part.shape[0] - height :, left : left + figure.shape[1]]
    clear = 1 - figure[..., 3:] / 255.0
    window[:] = (figure[..., :3] + window * clear).astype(np.uint8)
