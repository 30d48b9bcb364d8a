"""Boxes and labels on an image."""

import colorsys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from clsa_search.visualize.resizing import clip_boxes, shrink
from clsa_search.visualize.tags import (
    Color,
    draw_tag,
    load_font,
    measure_tag,
    place_above_box,
    place_tags,
)

UNLABELED_COLOR = (150, 150, 150)
MIN_LENGTH, MAX_LENGTH = 900, 4000  # pixels of the longer side of an image with numbers
GOLDEN_RATIO = 0.618034  # step of hue; any few neighbors differ clearly


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[str | None] | None = None,
    colors: Sequence[Color] | None = None,
) -> np.ndarray:
    """Draw boxes on a copy of an image, each with its label as a tag.

    Args:
        image: (H, W, 3) RGB uint8.
        boxes: (N, 4) XYXY in pixels of the image.
        labels: N texts; None or "" for no tag.
        colors: N RGB triples from 0 to 255. By default the text of a label decides its color: an
            identity has the same color in all images, and a box without label is gray.

    Returns:
        (H, W, 3) RGB uint8.
    """
    labels = [None] * len(boxes) if labels is None else labels
    colors = [_label_color(label) for label in labels] if colors is None else colors
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    line = max(1, round(min(image.shape[:2]) / 300))
    font = load_font(max(10, round(min(image.shape[:2]) / 45)))
    for box, label, color in zip(boxes, labels, colors, strict=True):
        corners = _round(draw, box, line)
        draw.rectangle(corners, outline=color, width=line)
        if label:
            corner = place_above_box(corners, measure_tag(label, font), canvas.width)
            draw_tag(draw, corner, label, color, font)
    return np.asarray(canvas)


def draw_numbered_boxes(image: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Draw boxes with numbers from 1, to let a user choose one.

    Tags never overlap each other, and avoid boxes if there is room. A line leads from each tag to
    its box.

    Args:
        image: (H, W, 3) RGB uint8.
        boxes: (N, 4) XYXY in pixels of the image.
        scores: (N,) detection scores; the most confident detections get the nearest tags.

    Returns:
        RGB uint8. The longer side has at most `MAX_LENGTH` pixels, or is enlarged by a whole number
        to at least `MIN_LENGTH`.
    """
    boxes = clip_boxes(np.reshape(boxes, (-1, 4)), image.shape)
    image, boxes = shrink(image, boxes, (MAX_LENGTH, MAX_LENGTH))
    scale = -(-MIN_LENGTH // max(image.shape[:2]))
    size = image.shape[1] * scale, image.shape[0] * scale
    canvas = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    boxes = boxes * scale
    draw = ImageDraw.Draw(canvas)
    font = load_font(max(20, min(size) // 28), bold=True)
    labels = [str(number) for number in range(1, len(boxes) + 1)]
    colors = [_hsv_color(GOLDEN_RATIO * number % 1, 0.85) for number in range(len(boxes))]
    order = np.argsort(-np.asarray(scores), kind="stable")
    tags = place_tags(boxes, [measure_tag(label, font) for label in labels], order, size)
    line = max(3, min(size) // 300)
    for i in order[::-1]:
        draw_outlined_box(draw, boxes[i], colors[i], line)
    for i in order:
        center = tags[i].reshape(2, 2).mean(axis=0)
        ends = [*center, *np.clip(center, boxes[i, :2], boxes[i, 2:])]
        draw.line(ends, fill="white", width=line + 2)
        draw.line(ends, fill=colors[i], width=line)
    for i in order:
        x0, y0, x1, y1 = tags[i]
        draw.rectangle([x0 - 1, y0 - 1, x1, y1], fill="white")
        draw_tag(draw, (x0, y0), labels[i], colors[i], font)
    return np.asarray(canvas)


def write_numbered_boxes(
    image: np.ndarray, boxes: np.ndarray, scores: np.ndarray, path: str | Path
) -> None:
    """Write the image of `draw_numbered_boxes`; the suffix of the path chooses the format."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_numbered_boxes(image, boxes, scores)).save(path, quality=92)


def draw_outlined_box(draw: ImageDraw.ImageDraw, box: np.ndarray, color: Color, line: int) -> None:
    """Draw a colored box between white lines, visible on any background.

    Args:
        draw: drawing context of the image.
        box: (4,) XYXY in pixels of the image.
        color: RGB from 0 to 255.
        line: width of the colored line, pixels.
    """
    x0, y0, x1, y1 = _round(draw, box, line)
    draw.rectangle([x0 - 1, y0 - 1, x1 + 1, y1 + 1], outline="white", width=line + 2)
    draw.rectangle([x0, y0, x1, y1], outline=color, width=line)


def _round(draw: ImageDraw.ImageDraw, box: np.ndarray, line: int) -> tuple[int, int, int, int]:
    """Round a box to pixels; lines outside the image stay outside, but near (Pillow walks them)."""
    width, height = draw.im.size
    high = np.array([width, height, width, height]) + 2 * line
    x0, y0, x1, y1 = np.clip(np.asarray(box, dtype=float).round(), -2 * line, high).astype(int)
    return int(x0), int(y0), int(x1), int(y1)


def _label_color(label: str | None) -> Color:
    if not label:
        return UNLABELED_COLOR
    code = zlib.crc32(label.encode())
    return _hsv_color(code % 360 / 360, 0.75 + code // 360 % 26 / 100)


def _hsv_color(hue: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, value)
    return round(red * 255), round(green * 255), round(blue * 255)
