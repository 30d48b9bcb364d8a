"""Boxes and labels on a scene."""

import colorsys
import zlib
from collections.abc import Sequence
from functools import cache

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

UNNAMED_COLOUR = (150, 150, 150)


def draw_people(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[str | None] | None = None,
    colours: Sequence[tuple[int, int, int]] | None = None,
) -> np.ndarray:
    """A copy of the image with boxes and, at each, a tag with its label.

    Args:
        image: RGB uint8 (H, W, 3).
        boxes: (N, 4) XYXY in the image's pixels.
        labels: N texts; None or "" for no tag.
        colours: N RGB triples of 0-255. By default a label's colour follows from its text, so that
            an identity keeps its colour from picture to picture; without label it is grey.
    """
    labels = [None] * len(boxes) if labels is None else labels
    colours = [_label_colour(label) for label in labels] if colours is None else colours
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    line = max(1, round(min(image.shape[:2]) / 300))
    font = _load_font(max(10, round(min(image.shape[:2]) / 45)))
    for box, label, colour in zip(boxes, labels, colours, strict=True):
        draw.rectangle([round(float(v)) for v in box], outline=tuple(colour), width=line)
        if label:
            _draw_tag(draw, box, label, tuple(colour), font)
    return np.asarray(picture)


def _draw_tag(
    draw: ImageDraw.ImageDraw,
    box: np.ndarray,
    label: str,
    colour: tuple[int, int, int],
    font: ImageFont.FreeTypeFont,
) -> None:
    """A filled tag on the box's upper edge, or below that edge where the image ends."""
    left, top, right, bottom = font.getbbox(label)
    pad = max(2, font.size // 5)
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = min(max(0, round(float(box[0]))), max(0, draw.im.size[0] - width))
    y = round(float(box[1])) - height
    y = y if y >= 0 else round(float(box[1]))
    draw.rectangle([x, y, x + width - 1, y + height - 1], fill=colour)
    luminance = np.dot(colour, (0.299, 0.587, 0.114))
    draw.text(
        (x + pad - left, y + pad - top),
        label,
        font=font,
        fill="black" if luminance > 140 else "white",
    )


def _label_colour(label: str | None) -> tuple[int, int, int]:
    if not label:
        return UNNAMED_COLOUR
    code = zlib.crc32(label.encode())
    red, green, blue = colorsys.hsv_to_rgb(code % 360 / 360, 0.85, 0.75 + code // 360 % 26 / 100)
    return round(red * 255), round(green * 255), round(blue * 255)


@cache
def _load_font(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with Matplotlib: there on every machine."""
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)
