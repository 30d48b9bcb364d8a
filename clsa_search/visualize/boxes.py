"""Boxes and labels on a scene."""

import colorsys
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

UNNAMED_COLOR = (150, 150, 150)
LEAST_LENGTH = 900  # pixels of the longer side of a picture with numbers
GOLDEN_RATIO = 0.618034  # steps of hue that keep any few neighbors apart
_RINGS = 6  # how far from its box a number may stand, in sizes of its tag


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[str | None] | None = None,
    colors: Sequence[tuple[int, int, int]] | None = None,
) -> np.ndarray:
    """A copy of the image with boxes and, at each, a tag with its label.

    Args:
        image: RGB uint8 (H, W, 3).
        boxes: (N, 4) XYXY in the image's pixels.
        labels: N texts; None or "" for no tag.
        colors: N RGB triples of 0-255. By default a label's color follows from its text, so that
            an identity keeps its color from picture to picture; without label it is gray.
    """
    labels = [None] * len(boxes) if labels is None else labels
    colors = [_label_color(label) for label in labels] if colors is None else colors
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    line = max(1, round(min(image.shape[:2]) / 300))
    font = _load_font(max(10, round(min(image.shape[:2]) / 45)))
    for box, label, color in zip(boxes, labels, colors, strict=True):
        draw.rectangle([round(float(v)) for v in box], outline=tuple(color), width=line)
        if label:
            _draw_tag(draw, box, label, tuple(color), font)
    return np.asarray(picture)


def draw_numbered_boxes(image: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """A picture of a scene with its people numbered from 1, to choose one by number.

    No tag covers another, nor a box if there is room; a line leads from a tag to a box that is not
    next to it.

    Args:
        image: RGB uint8 (H, W, 3).
        boxes: (N, 4) XYXY in the image's pixels.
        scores: (N,) of detection; the surest people have their numbers nearest.

    Returns:
        RGB uint8, the image enlarged by the whole number that makes it `LEAST_LENGTH` long.
    """
    scale = -(-LEAST_LENGTH // max(image.shape[:2]))
    size = image.shape[1] * scale, image.shape[0] * scale
    picture = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    boxes = np.asarray(boxes, dtype=float).reshape(-1, 4) * scale
    draw = ImageDraw.Draw(picture)
    font = _load_font(max(20, min(size) // 28), bold=True)
    labels = [str(number) for number in range(1, len(boxes) + 1)]
    colors = [_hsv_color(GOLDEN_RATIO * number % 1, 0.85) for number in range(len(boxes))]
    order = np.argsort(-np.asarray(scores), kind="stable")
    places = place_tags(boxes, [_measure_tag(label, font) for label in labels], order, size)
    line = max(3, min(size) // 300)
    for i in order[::-1]:
        draw_outlined_box(draw, boxes[i], colors[i], line)
    for i in order:
        center = places[i].reshape(2, 2).mean(axis=0)
        ends = [*center, *np.clip(center, boxes[i, :2], boxes[i, 2:])]
        draw.line(ends, fill="white", width=line + 2)
        draw.line(ends, fill=colors[i], width=line)
    for i in order:
        x0, y0, x1, y1 = places[i]
        draw.rectangle([x0 - 1, y0 - 1, x1, y1], fill="white")
        _fill_tag(draw, (x0, y0), labels[i], colors[i], font)
    return np.asarray(picture)


def write_numbered_boxes(
    image: np.ndarray, boxes: np.ndarray, scores: np.ndarray, path: str | Path
) -> None:
    """Write what `draw_numbered_boxes` draws; the suffix of the path chooses the format."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_numbered_boxes(image, boxes, scores)).save(path, quality=92)


def place_tags(
    boxes: np.ndarray, sizes: Sequence[tuple[int, int]], order: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Corners (N, 4) of tags inside a picture of the given size, placed in the given order.

    Each takes the best of the places around its box: first of all free of tags, then of boxes, then
    near the box's upper left corner.
    """
    places = np.zeros((len(boxes), 4))
    for rank, i in enumerate(order):
        candidates = _list_places(boxes[i], sizes[i], size)
        cost = np.abs(candidates[:, :2] - (boxes[i, :2] - (0, sizes[i][1]))).sum(axis=1)
        cost += 1e3 * _overlap(candidates, boxes) / np.prod(sizes[i])
        cost += 1e6 * _overlap(candidates, places[order[:rank]])
        places[i] = candidates[cost.argmin()]
    return places


def _list_places(
    box: np.ndarray, tag_size: tuple[int, int], picture_size: tuple[int, int]
) -> np.ndarray:
    """(C, 4) places for a tag around a box, and in it, wholly inside the picture."""
    steps = [
        np.concatenate([start - length * np.arange(_RINGS + 1), stop + length * np.arange(_RINGS)])
        for start, stop, length in zip(box[:2], box[2:], tag_size, strict=True)
    ]
    corners = np.stack(np.meshgrid(*steps), axis=-1).reshape(-1, 2).round()
    corners = np.clip(corners, 0, np.maximum(0, np.subtract(picture_size, tag_size)))
    return np.hstack([corners, corners + tag_size])


def _overlap(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(C,) area that each of (C, 4) shares with all of the others (M, 4)."""
    low = np.maximum(places[:, None, :2], others[None, :, :2])
    high = np.minimum(places[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2).sum(axis=1)


def draw_outlined_box(
    draw: ImageDraw.ImageDraw, box: np.ndarray, color: tuple[int, int, int], line: int
) -> None:
    """A colored box between white lines, to be seen on any ground."""
    x0, y0, x1, y1 = box.round()
    draw.rectangle([x0 - 1, y0 - 1, x1 + 1, y1 + 1], outline="white", width=line + 2)
    draw.rectangle([x0, y0, x1, y1], outline=color, width=line)


def _draw_tag(
    draw: ImageDraw.ImageDraw,
    box: np.ndarray,
    label: str,
    color: tuple[int, int, int],
    font: ImageFont.FreeTypeFont,
) -> None:
    """A filled tag on the box's upper edge, or below that edge where the image ends."""
    width, height = _measure_tag(label, font)
    x = min(max(0, round(float(box[0]))), max(0, draw.im.size[0] - width))
    y = round(float(box[1])) - height
    y = y if y >= 0 else round(float(box[1]))
    _fill_tag(draw, (x, y), label, color, font)


def _measure_tag(label: str, font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    """Width and height of a tag."""
    left, top, right, bottom = font.getbbox(label)
    pad = _pad(font)
    return right - left + 2 * pad, bottom - top + 2 * pad


def _pad(font: ImageFont.FreeTypeFont) -> int:
    return max(2, font.size // 5)


def _fill_tag(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    label: str,
    color: tuple[int, int, int],
    font: ImageFont.FreeTypeFont,
) -> None:
    """A tag from its upper left corner on."""
    (x, y), (width, height), pad = corner, _measure_tag(label, font), _pad(font)
    left, top, _, _ = font.getbbox(label)
    draw.rectangle([x, y, x + width - 1, y + height - 1], fill=color)
    luminance = np.dot(color, (0.299, 0.587, 0.114))
    draw.text(
        (x + pad - left, y + pad - top),
        label,
        font=font,
        fill="black" if luminance > 140 else "white",
    )


def _label_color(label: str | None) -> tuple[int, int, int]:
    if not label:
        return UNNAMED_COLOR
    code = zlib.crc32(label.encode())
    return _hsv_color(code % 360 / 360, 0.75 + code // 360 % 26 / 100)


def _hsv_color(hue: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, value)
    return round(red * 255), round(green * 255), round(blue * 255)


@cache
def _load_font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font that comes with Matplotlib: there on every machine."""
    name = font_manager.FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    return ImageFont.truetype(font_manager.findfont(name), size)
