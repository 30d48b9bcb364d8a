"""Ranking sheets: a query and its best matches, each cut out with some of its scene.

Right and wrong differ in colour (Okabe and Ito's palette, made for colour-blind readers) and in a
mark. The suffix of a path chooses the format (.png, .pdf, ...).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

QUERY_COLOUR, RIGHT_COLOUR, WRONG_COLOUR = "#0072b2", "#009e73", "#d55e00"
TEXT_COLOUR, FAINT_COLOUR, PAPER_COLOUR = "#222222", "#6b6b6b", "#ececec"
DOTS_PER_INCH = 200

# inches
TILE_WIDTH, TILE_HEIGHT = 1.14, 1.62
HEADER, CAPTION, GAP, MARGIN = 0.19, 0.17, 0.13, 0.15
SCENE_WIDTH = 3.1
CONTEXT = 0.22  # shown around a box on every side, relative to its height and width
TILES_IN_A_ROW = 5


@dataclass(frozen=True)
class Sighting:
    """A person in a scene: RGB uint8 image (H, W, 3), XYXY box (4,) in its pixels, a caption."""

    image: np.ndarray
    box: np.ndarray
    caption: str = ""

    def trim(self) -> "Sighting":
        """The same with no more of the image than a tile shows, to spare memory."""
        window = choose_window(self.box, self.image.shape, TILE_WIDTH / TILE_HEIGHT)
        x0, y0, x1, y1 = _meet(window, self.image.shape)
        box = np.subtract(self.box, (x0, y0, x0, y0))
        return replace(self, image=self.image[y0:y1, x0:x1].copy(), box=box)


@dataclass(frozen=True)
class RankedSighting(Sighting):
    """A place in a ranking: cosine similarity to the query, and whether it is the person."""

    similarity: float = 0.0
    correct: bool = False


@dataclass(frozen=True)
class Ranking:
    """A query, its best matches in order, its name ("query 12") and what came of it ("AP 0.71")."""

    query: Sighting
    matches: Sequence[RankedSighting]
    title: str
    verdict: str


def draw_ranking_sheet(ranking: Ranking, path: str | Path) -> None:
    """One query: its scene and crop at the left, its best matches in rows of five at the right.

    Every tile shows a box with some of its scene around it; above it stand rank and similarity, and
    the frame and its mark say right or wrong.
    """
    rows = max(2, -(-len(ranking.matches) // TILES_IN_A_ROW))
    step_x, step_y = TILE_WIDTH + GAP, HEADER + TILE_HEIGHT + CAPTION + GAP
    left = MARGIN + SCENE_WIDTH + 2 * GAP
    sheet = _Sheet(left + TILES_IN_A_ROW * step_x - GAP + MARGIN, 2 * MARGIN + rows * step_y - GAP)

    sheet.write(MARGIN, MARGIN + HEADER - 0.06, ranking.title, weight="bold")
    sheet.draw_scene(ranking.query, MARGIN, MARGIN + HEADER, SCENE_WIDTH, TILE_HEIGHT + CAPTION)
    tile_top, text_left = MARGIN + step_y + HEADER, MARGIN + TILE_WIDTH + 1.2 * GAP
    sheet.draw_tile(ranking.query, MARGIN, tile_top, QUERY_COLOUR)
    for line, text in enumerate(ranking.verdict.split(", ")):
        sheet.write(text_left, tile_top + 0.17 + 0.22 * line, text, size=11, weight="bold")
    sheet.draw_legend(text_left, tile_top + TILE_HEIGHT - 0.56, down=True)

    for place, match in enumerate(ranking.matches):
        row, column = divmod(place, TILES_IN_A_ROW)
        sheet.draw_match(match, place + 1, left + column * step_x, MARGIN + HEADER + row * step_y)
    if not ranking.matches:
        sheet.write(left, MARGIN + HEADER, "no detection in the gallery", colour=FAINT_COLOUR)
    sheet.save(path)


def draw_ranking_overview(rankings: Sequence[Ranking], path: str | Path) -> None:
    """Several queries, one a row: the query in its frame, then its matches."""
    columns = max([6, *(len(ranking.matches) for ranking in rankings)])
    header = HEADER + 0.2
    step_x, step_y = TILE_WIDTH + GAP, header + TILE_HEIGHT + CAPTION + GAP
    left = MARGIN + step_x + GAP
    bottom = MARGIN + len(rankings) * step_y
    sheet = _Sheet(left + columns * step_x - GAP + MARGIN, bottom + 0.2 + MARGIN)
    for row, ranking in enumerate(rankings):
        y = MARGIN + row * step_y + header
        text = f"{ranking.title}: {ranking.verdict}"
        sheet.write(MARGIN, y - HEADER - 0.07, text, size=8.5, weight="bold")
        sheet.draw_tile(ranking.query, MARGIN, y, QUERY_COLOUR)
        for place, match in enumerate(ranking.matches):
            sheet.draw_match(match, place + 1, left + place * step_x, y)
    sheet.draw_legend(MARGIN, bottom, down=False)
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
        colour: str = TEXT_COLOUR,
        align: str = "left",
    ) -> None:
        self.figure.text(
            x / self.width,
            1 - y / self.height,
            text,
            size=size,
            weight=weight,
            color=colour,
            ha=align,
            va="baseline",
            parse_math=False,
        )

    def draw_scene(
        self, sighting: Sighting, x: float, y: float, width: float, height: float
    ) -> None:
        """The whole image in the given space, its box in the query's colour."""
        image_height, image_width = sighting.image.shape[:2]
        scale = min(width / image_width, height / image_height)
        axes = self._add_axes(x, y, image_width * scale, image_height * scale)
        axes.imshow(
            sighting.image, extent=(0, image_width, image_height, 0), interpolation="lanczos"
        )
        _outline(axes, sighting.box, QUERY_COLOUR, 1.6)

    def draw_tile(self, sighting: Sighting, x: float, y: float, colour: str) -> Axes:
        """The box with its surroundings in a framed tile, and the caption under it."""
        axes = self._add_axes(x, y, TILE_WIDTH, TILE_HEIGHT)
        axes.set_facecolor(PAPER_COLOUR)
        for side in axes.spines.values():
            side.set(visible=True, color=colour, linewidth=2.4)
        window = choose_window(sighting.box, sighting.image.shape, TILE_WIDTH / TILE_HEIGHT)
        x0, y0, x1, y1 = _meet(window, sighting.image.shape)
        axes.imshow(sighting.image[y0:y1, x0:x1], extent=(x0, x1, y1, y0), interpolation="lanczos")
        axes.set(xlim=(window[0], window[2]), ylim=(window[3], window[1]), aspect="auto")
        _outline(axes, sighting.box, colour, 1.1)
        limit = round(TILE_WIDTH * 19)  # characters of size 6
        caption = sighting.caption
        caption = caption if len(caption) <= limit else f"…{caption[1 - limit :]}"
        self.write(
            x + TILE_WIDTH / 2,
            y + TILE_HEIGHT + 0.12,
            caption,
            size=6,
            colour=FAINT_COLOUR,
            align="center",
        )
        return axes

    def draw_match(self, match: RankedSighting, rank: int, x: float, y: float) -> None:
        """A tile with rank and similarity over it, and the mark of right or wrong in its corner."""
        colour = RIGHT_COLOUR if match.correct else WRONG_COLOUR
        axes = self.draw_tile(match, x, y, colour)
        self.write(x, y - 0.06, f"{rank}", weight="bold")
        self.write(x + TILE_WIDTH, y - 0.06, f"{match.similarity:.2f}", align="right")
        _mark(axes, match.correct, 1 - 0.13 / TILE_WIDTH, 1 - 0.13 / TILE_HEIGHT)

    def draw_legend(self, x: float, y: float, *, down: bool) -> None:
        """What the marks and the figures over the tiles mean, in three lines or in one."""
        step_x, step_y = (0, 0.2) if down else (1.1, 0)
        for place, (correct, text) in enumerate([(True, "the person"), (False, "somebody else")]):
            left, top = x + place * step_x, y + place * step_y
            _mark(self._add_axes(left, top, 0.16, 0.16), correct, 0.5, 0.5)
            self.write(left + 0.23, top + 0.115, text, size=7, colour=FAINT_COLOUR)
        self.write(
            x + 2.2 * step_x,
            y + 2 * step_y + 0.125,
            "above a tile: rank, similarity",
            size=7,
            colour=FAINT_COLOUR,
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


def choose_window(box: np.ndarray, image_shape: tuple[int, ...], aspect: float) -> np.ndarray:
    """The part of an image to show around a box: (4,) XYXY of the given width / height.

    It holds the box and its context, lies inside the image where it fits, and is centred on the
    image in a direction in which the image is too small.
    """
    box = np.asarray(box, dtype=float)
    image_size = np.array([image_shape[1], image_shape[0]], dtype=float)
    width, height = (box[2:] - box[:2]) * (1 + 2 * CONTEXT)
    height = max(height, width / aspect)
    size = np.array([height * aspect, height])
    start = (box[:2] + box[2:] - size) / 2
    start = np.where(
        size < image_size, np.clip(start, 0, image_size - size), (image_size - size) / 2
    )
    return np.concatenate([start, start + size])


def _meet(window: np.ndarray, image_shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Whole pixels of the image that the window touches, XYXY."""
    height, width = image_shape[:2]
    x0, y0 = np.floor(window[:2]).astype(int)
    x1, y1 = np.ceil(window[2:]).astype(int)
    return max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)


def _outline(axes: Axes, box: np.ndarray, colour: str, line: float) -> None:
    """A box in its colour between two thin white lines, to be seen on any ground."""
    for edge, width in (("white", line + 1.0), (colour, line)):
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
            "facecolor": RIGHT_COLOUR if correct else WRONG_COLOUR,
            "edgecolor": "white",
            "linewidth": 0.8,
        },
    )
