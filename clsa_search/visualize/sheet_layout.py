"""A figure with person tiles: images, boxes, captions, marks, positioned in inches."""

import warnings
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from clsa_search.structures import PersonImage
from clsa_search.visualize.resizing import clip_boxes, shrink
from clsa_search.visualize.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    MatchImage,
    choose_window,
    clip_to_image,
    trim_to_tile,
)
from clsa_search.wording import to_printable

# the palette of Okabe and Ito, made for color-blind readers: blue, green, orange
QUERY_COLOR, CORRECT_COLOR, WRONG_COLOR = "#0072b2", "#009e73", "#d55e00"
MATCH_COLORS = {True: CORRECT_COLOR, False: WRONG_COLOR, None: "#555555"}
TEXT_COLOR, FAINT_COLOR, PAPER_COLOR = "#222222", "#6b6b6b", "#ececec"
DOTS_PER_INCH = 200


class Sheet:
    """A figure with its origin at the top left corner.

    Args:
        width: inches.
        height: inches.
    """

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), facecolor="white")

    def save(self, path: str | Path) -> None:
        """Write the figure; the suffix of the path chooses the format."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # of names in other scripts
            self.figure.savefig(path, dpi=DOTS_PER_INCH)

    def write(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 8,
        weight: str = "normal",
        color: str = TEXT_COLOR,
        align: str = "left",
    ) -> None:
        """Write a line of text with its baseline at y inches."""
        self.figure.text(
            x / self.width,
            1 - y / self.height,
            to_printable(text),  # names of files may hold bytes of no text
            size=size,
            weight=weight,
            color=color,
            ha=align,
            va="baseline",
            parse_math=False,
        )

    def draw_image(
        self, person: PersonImage, x: float, y: float, width: float, height: float
    ) -> None:
        """Draw a whole image in the given space, with its box in the color of queries."""
        max_size = round(2 * DOTS_PER_INCH * width), round(2 * DOTS_PER_INCH * height)
        image, box = shrink(person.image, clip_boxes(person.box, person.image.shape), max_size)
        image_height, image_width = image.shape[:2]
        scale = min(width / image_width, height / image_height)
        axes = self._add_axes(x, y, image_width * scale, image_height * scale)
        axes.imshow(image, extent=(0, image_width, image_height, 0), interpolation="lanczos")
        _draw_box(axes, box, QUERY_COLOR, 1.6)

    def draw_tile(self, person: PersonImage, x: float, y: float, color: str) -> Axes:
        """Draw the box and its surroundings in a framed tile, with the caption below.

        Returns:
            The axes of the tile.
        """
        person = trim_to_tile(person)
        axes = self._add_axes(x, y, TILE_WIDTH, TILE_HEIGHT)
        axes.set_facecolor(PAPER_COLOR)
        for side in axes.spines.values():
            side.set(visible=True, color=color, linewidth=2.4)
        window = choose_window(person.box, person.image.shape, TILE_WIDTH / TILE_HEIGHT)
        x0, y0, x1, y1 = clip_to_image(window, person.image.shape)
        axes.imshow(person.image[y0:y1, x0:x1], extent=(x0, x1, y1, y0), interpolation="lanczos")
        axes.set(xlim=(window[0], window[2]), ylim=(window[3], window[1]), aspect="auto")
        _draw_box(axes, person.box, color, 1.1)
        self.write(
            x + TILE_WIDTH / 2,
            y + TILE_HEIGHT + 0.12,
            shorten(person.caption, TILE_WIDTH, 6),
            size=6,
            color=FAINT_COLOR,
            align="center",
        )
        return axes

    def draw_match(self, match: MatchImage, rank: int, x: float, y: float) -> None:
        """Draw a tile with rank and similarity above it, and a mark if the truth is known."""
        axes = self.draw_tile(match, x, y, MATCH_COLORS[match.correct])
        self.write(x, y - 0.06, f"{rank}", weight="bold")
        self.write(x + TILE_WIDTH, y - 0.06, f"{match.similarity:.2f}", align="right")
        if match.correct is not None:
            draw_mark(axes, match.correct, 1 - 0.13 / TILE_WIDTH, 1 - 0.13 / TILE_HEIGHT)

    def draw_legend(self, x: float, y: float, *, down: bool, marked: bool) -> None:
        """Explain marks and numbers of the tiles, in lines below each other or in one line.

        Args:
            x: inches from the left.
            y: inches from the top.
            down: whether the lines stand below each other.
            marked: whether any tile has a mark.
        """
        step_x, step_y = (0, 0.2) if down else (1.1 if marked else 0, 0)
        marks = [(True, "the person"), (False, "somebody else")] if marked else []
        for index, (correct, text) in enumerate(marks):
            left, top = x + index * step_x, y + index * step_y
            draw_mark(self._add_axes(left, top, 0.16, 0.16), correct, 0.5, 0.5)
            self.write(left + 0.23, top + 0.115, text, size=7, color=FAINT_COLOR)
        self.write(
            x + 2.2 * step_x,
            y + 2 * step_y + 0.125,
            "above a tile: rank, similarity",
            size=7,
            color=FAINT_COLOR,
        )

    def _add_axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Add bare axes over a rectangle."""
        axes = self.figure.add_axes(
            (
                x / self.width,
                1 - (y + height) / self.height,
                width / self.width,
                height / self.height,
            )
        )
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        return axes


def shorten(text: str, width: float, size: float) -> str:
    """Return the end of a text, short enough for a width in inches at a font size in points."""
    limit = round(width * 114 / size)  # characters
    return text if len(text) <= limit else f"…{text[1 - limit :]}"


def draw_mark(axes: Axes, correct: bool, x: float, y: float) -> None:
    """Draw a disc with a tick or a cross.

    Args:
        axes: axes to draw in.
        correct: whether to draw a tick.
        x: horizontal position as a share of the axes.
        y: vertical position as a share of the axes, from below.
    """
    axes.text(
        x,
        y,
        "✓" if correct else "✗",
        transform=axes.transAxes,
        size=7,
        weight="bold",
        color="white",
        ha="center",
        va="center_baseline",
        bbox={
            "boxstyle": "circle,pad=0.22",
            "facecolor": MATCH_COLORS[correct],
            "edgecolor": "white",
            "linewidth": 0.8,
        },
    )


def _draw_box(axes: Axes, box: np.ndarray, color: str, line: float) -> None:
    """Draw a box between two thin white lines, visible on any background."""
    x0, y0, x1, y1 = box
    for edge, width in (("white", line + 1.0), (color, line)):
        axes.add_patch(
            Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=edge, linewidth=width)
        )
