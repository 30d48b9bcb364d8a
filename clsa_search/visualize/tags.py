"""Text tags of boxes: font, size, position, drawing."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from matplotlib import font_manager
from PIL import ImageDraw, ImageFont

Color = tuple[int, int, int]  # RGB from 0 to 255

_RINGS = 6  # largest distance of a tag from its box, in tag sizes


@cache
def load_font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Load Matplotlib's own font, the same on every machine."""
    name = font_manager.FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    return ImageFont.truetype(font_manager.findfont(name), size)


def measure_tag(label: str, font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    """Return width and height of a tag in pixels."""
    left, top, right, bottom = font.getbbox(label)
    padding = _padding(font)
    return round(right - left + 2 * padding), round(bottom - top + 2 * padding)


def draw_tag(
    draw: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    label: str,
    color: Color,
    font: ImageFont.FreeTypeFont,
) -> None:
    """Draw a filled tag with its upper left corner at the given point."""
    (x, y), (width, height), padding = corner, measure_tag(label, font), _padding(font)
    left, top, _, _ = font.getbbox(label)
    draw.rectangle([x, y, x + width - 1, y + height - 1], fill=color)
    luminance = np.dot(color, (0.299, 0.587, 0.114))
    draw.text(
        (x + padding - left, y + padding - top),
        label,
        font=font,
        fill="black" if luminance > 140 else "white",
    )


def place_above_box(
    box: tuple[int, int, int, int], tag_size: tuple[int, int], image_width: int
) -> tuple[int, int]:
    """Return the corner of a tag on the upper edge of its box, or below that edge at the top."""
    width, height = tag_size
    x = min(max(0, box[0]), max(0, image_width - width))
    y = box[1] - height
    return x, y if y >= 0 else box[1]


def place_tags(
    boxes: np.ndarray,
    tag_sizes: Sequence[tuple[int, int]],
    order: np.ndarray,
    image_size: tuple[int, int],
) -> np.ndarray:
    """Place tags near their boxes.

    Each tag takes the best free position around its box: the one with the least overlap with
    earlier tags, then with boxes, then nearest to the upper left corner of its box.

    Args:
        boxes: (N, 4) XYXY in pixels of the image.
        tag_sizes: N times width and height in pixels.
        order: (N,) indices of boxes; the first are placed first.
        image_size: width and height in pixels.

    Returns:
        (N, 4) XYXY of the tags, inside the image if it is large enough.
    """
    tags = np.zeros((len(boxes), 4))
    for rank, i in enumerate(order):
        candidates = _list_candidates(boxes[i], tag_sizes[i], image_size)
        cost = np.abs(candidates[:, :2] - (boxes[i, :2] - (0, tag_sizes[i][1]))).sum(axis=1)
        cost += 1e3 * _overlap(candidates, boxes) / np.prod(tag_sizes[i])
        cost += 1e6 * _overlap(candidates, tags[order[:rank]])
        tags[i] = candidates[cost.argmin()]
    return tags


def _list_candidates(
    box: np.ndarray, tag_size: tuple[int, int], image_size: tuple[int, int]
) -> np.ndarray:
    """Return (C, 4) positions of a tag in and around a box, inside the image."""
    steps = [
        np.concatenate([start - length * np.arange(_RINGS + 1), stop + length * np.arange(_RINGS)])
        for start, stop, length in zip(box[:2], box[2:], tag_size, strict=True)
    ]
    corners = np.stack(np.meshgrid(*steps), axis=-1).reshape(-1, 2).round()
    corners = np.clip(corners, 0, np.maximum(0, np.subtract(image_size, tag_size)))
    return np.hstack([corners, corners + tag_size])


def _overlap(tags: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return (C,) the total overlap of each of (C, 4) tags with (M, 4) others, pixels."""
    low = np.maximum(tags[:, None, :2], others[None, :, :2])
    high = np.minimum(tags[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2).sum(axis=1)


def _padding(font: ImageFont.FreeTypeFont) -> int:
    return int(max(2, font.size // 5))
