"""Ranking sheets: a query and its best matches, each cut out with some of its scene.

Right and wrong differ in color (Okabe and Ito's palette, made for color-blind readers) and in a
mark; where nobody knows, frames are gray and bear none. The suffix of a path chooses the format
(.png, .pdf, ...).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from clsa_search.visualize.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    MatchImage,
    PersonImage,
    Ranking,
    choose_window,
    meet_image,
)

QUERY_COLOR, RIGHT_COLOR, WRONG_COLOR = "#0072b2", "#009e73", "#d55e00"
MATCH_COLORS = {True: RIGHT_COLOR, False: WRONG_COLOR, None: "#555555"}
TEXT_COLOR, FAINT_COLOR, PAPER_COLOR = "#222222", "#6b6b6b", "#ececec"
DOTS_PER_INCH = 200

# inches
HEADER, CAPTION, GAP, MARGIN = 0.19, 0.17, 0.13, 0.15
SCENE_WIDTH = 3.1
TILES_IN_A_ROW, QUERY_TILES_IN_A_ROW = 5, 2


def draw_ranking_sheet(ranking: Ranking, path: str | Path) -> None:
    """One query: its scene and crops at the left, its best matches in rows of five at the right.

    Every tile shows a box with some of its scene around it; above it stand rank and similarity, and
    the frame and its mark say right or wrong.
    """
    query_rows = 2 - (-len(ranking.further) // QUERY_TILES_IN_A_ROW)
    rows = max(query_rows, -(-len(ranking.matches) // TILES_IN_A_ROW))
    step_x, step_y = TILE_WIDTH + GAP, HEADER + TILE_HEIGHT + CAPTION + GAP
    left = MARGIN + SCENE_WIDTH + 2 * GAP
    sheet = _Sheet(left + TILES_IN_A_ROW * step_x - GAP + MARGIN, 2 * MARGIN + rows * step_y - GAP)

    title = _shorten(ranking.title, SCENE_WIDTH, 8.5)
    sheet.write(MARGIN, MARGIN + HEADER - 0.06, title, weight="bold")
    sheet.draw_scene(ranking.query, MARGIN, MARGIN + HEADER, SCENE_WIDTH, TILE_HEIGHT + CAPTION)
    tile_top, text_left = MARGIN + step_y + HEADER, MARGIN + TILE_WIDTH + 1.2 * GAP
    sheet.draw_tile(ranking.query, MARGIN, tile_top, QUERY_COLOR)
    for line, text in enumerate(ranking.verdict.split(", ")):
        sheet.write(text_left, tile_top + 0.17 + 0.22 * line, text, size=11, weight="bold")
    marked = _are_marked([ranking])
    sheet.draw_legend(text_left, tile_top + TILE_HEIGHT - 0.56, down=True, marked=marked)
    for place, sighting in enumerate(ranking.further):
        row, column = divmod(place, QUERY_TILES_IN_A_ROW)
        y = tile_top + (row + 1) * step_y
        sheet.draw_tile(sighting, MARGIN + column * step_x, y, QUERY_COLOR)

    for place, match in enumerate(ranking.matches):
        row, column = divmod(place, TILES_IN_A_ROW)
        sheet.draw_match(match, place + 1, left + column * step_x, MARGIN + HEADER + row * step_y)
    if not ranking.matches:
        sheet.write(left, MARGIN + HEADER, "no match in the gallery", color=FAINT_COLOR)
    sheet.save(path)


def draw_ranking_overview(rankings: Sequence[Ranking], path: str | Path) -> None:
    """Several queries, one a row: the query's pictures in their frames, then its matches."""
    columns = max([6, *(len(ranking.matches) for ranking in rankings)])
    header = HEADER + 0.2
    step_x, step_y = TILE_WIDTH + GAP, header + TILE_HEIGHT + CAPTION + GAP
    pictures = 1 + max([0, *(len(ranking.further) for ranking in rankings)])
    left = MARGIN + pictures * step_x + GAP
    bottom = MARGIN + len(rankings) * step_y
    sheet = _Sheet(left + columns * step_x - GAP + MARGIN, bottom + 0.2 + MARGIN)
    for row, ranking in enumerate(rankings):
        y = MARGIN + row * step_y + header
        text = f"{ranking.title}: {ranking.verdict}"
        sheet.write(MARGIN, y - HEADER - 0.07, text, size=8.5, weight="bold")
        for place, sighting in enumerate([ranking.query, *ranking.further]):
            sheet.draw_tile(sighting, MARGIN + place * step_x, y, QUERY_COLOR)
        for place, match in enumerate(ranking.matches):
            sheet.draw_match(match, place + 1, left + place * step_x, y)
    sheet.draw_legend(MARGIN, bottom, down=False, marked=_are_marked(rankings))
    sheet.save(path)


class _Sheet:
    """A figure whose coordinates are inches from its top left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), facecolor="white")

    def save(self, path: str | Path) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
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
        self.figure.text(
            x / self.width,
            1 - y / self.height,
            text,
            size=size,
            weight=weight,
            color=color,
            ha=align,
            va="baseline",
            parse_math=False,
        )

    def draw_scene(
        self, sighting: PersonImage, x: float, y: float, width: float, height: float
    ) -> None:
        """The whole image in the given space, its box in the query's color."""
        image_height, image_width = sighting.image.shape[:2]
        scale = min(width / image_width, height / image_height)
        axes = self._add_axes(x, y, image_width * scale, image_height * scale)
        axes.imshow(
            sighting.image, extent=(0, image_width, image_height, 0), interpolation="lanczos"
        )
        _outline(axes, sighting.box, QUERY_COLOR, 1.6)

    def draw_tile(self, sighting: PersonImage, x: float, y: float, color: str) -> Axes:
        """The box with its surroundings in a framed tile, and the caption under it."""
        axes = self._add_axes(x, y, TILE_WIDTH, TILE_HEIGHT)
        axes.set_facecolor(PAPER_COLOR)
        for side in axes.spines.values():
            side.set(visible=True, color=color, linewidth=2.4)
        window = choose_window(sighting.box, sighting.image.shape, TILE_WIDTH / TILE_HEIGHT)
        x0, y0, x1, y1 = meet_image(window, sighting.image.shape)
        axes.imshow(sighting.image[y0:y1, x0:x1], extent=(x0, x1, y1, y0), interpolation="lanczos")
        axes.set(xlim=(window[0], window[2]), ylim=(window[3], window[1]), aspect="auto")
        _outline(axes, sighting.box, color, 1.1)
        self.write(
            x + TILE_WIDTH / 2,
            y + TILE_HEIGHT + 0.12,
            _shorten(sighting.caption, TILE_WIDTH, 6),
            size=6,
            color=FAINT_COLOR,
            align="center",
        )
        return axes

    def draw_match(self, match: MatchImage, rank: int, x: float, y: float) -> None:
        """A tile with rank and similarity over it, and the mark, if known, in its corner."""
        axes = self.draw_tile(match, x, y, MATCH_COLORS[match.correct])
        self.write(x, y - 0.06, f"{rank}", weight="bold")
        self.write(x + TILE_WIDTH, y - 0.06, f"{match.similarity:.2f}", align="right")
        if match.correct is not None:
            _mark(axes, match.correct, 1 - 0.13 / TILE_WIDTH, 1 - 0.13 / TILE_HEIGHT)

    def draw_legend(self, x: float, y: float, *, down: bool, marked: bool) -> None:
        """What marks, if there are any, and figures over the tiles mean, in lines or in one."""
        step_x, step_y = (0, 0.2) if down else (1.1 if marked else 0, 0)
        marks = [(True, "the person"), (False, "somebody else")] if marked else []
        for place, (correct, text) in enumerate(marks):
            left, top = x + place * step_x, y + place * step_y
            _mark(self._add_axes(left, top, 0.16, 0.16), correct, 0.5, 0.5)
            self.write(left + 0.23, top + 0.115, text, size=7, color=FAINT_COLOR)
        self.write(
            x + 2.2 * step_x,
            y + 2 * step_y + 0.125,
            "above a tile: rank, similarity",
            size=7,
            color=FAINT_COLOR,
        )

    def _add_axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Bare axes that fill the rectangle."""
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


def _are_marked(rankings: Sequence[Ranking]) -> bool:
    return any(match.correct is not None for ranking in rankings for match in ranking.matches)


def _shorten(text: str, width: float, size: float) -> str:
    """The end of the text, as much as is sure to fit into the width in inches."""
    limit = round(width * 114 / size)  # characters
    return text if len(text) <= limit else f"…{text[1 - limit :]}"


def _outline(axes: Axes, box: np.ndarray, color: str, line: float) -> None:
    """A box in its color between two thin white lines, to be seen on any ground."""
    for edge, width in (("white", line + 1.0), (color, line)):
        corner, size = box[:2], np.subtract(box[2:], box[:2])
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=edge, linewidth=width))


def _mark(axes: Axes, correct: bool, x: float, y: float) -> None:
    """A disc with a tick or a cross, at a place in the axes' own units."""
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
