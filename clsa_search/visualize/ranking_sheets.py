"""Ranking sheets: a query and its best matches, each cut out with some of its surroundings.

Frames are blue for queries, green with a tick for correct matches, orange with a cross for wrong
matches, and gray without a mark if the truth is not known. The suffix of a path chooses the format
(.png, .pdf, ...).
"""

from collections.abc import Sequence
from pathlib import Path

from clsa_search.visualize.sheet_layout import FAINT_COLOR, QUERY_COLOR, Sheet, shorten
from clsa_search.visualize.tiles import TILE_HEIGHT, TILE_WIDTH, Ranking

# inches
HEADER, CAPTION, GAP, MARGIN = 0.19, 0.17, 0.13, 0.15
QUERY_WIDTH = 3.1
TILES_PER_ROW, QUERY_TILES_PER_ROW = 5, 2


def draw_ranking_sheet(ranking: Ranking, path: str | Path) -> None:
    """Draw one query: its image and crops on the left, its best matches in rows on the right.

    Every tile shows a box and some of its surroundings, below rank and similarity.
    """
    query_rows = 2 - (-len(ranking.other_images) // QUERY_TILES_PER_ROW)
    rows = max(query_rows, -(-len(ranking.matches) // TILES_PER_ROW))
    step_x, step_y = TILE_WIDTH + GAP, HEADER + TILE_HEIGHT + CAPTION + GAP
    left = MARGIN + QUERY_WIDTH + 2 * GAP
    sheet = Sheet(left + TILES_PER_ROW * step_x - GAP + MARGIN, 2 * MARGIN + rows * step_y - GAP)

    title = shorten(ranking.title, QUERY_WIDTH, 8.5)
    sheet.write(MARGIN, MARGIN + HEADER - 0.06, title, weight="bold")
    sheet.draw_image(ranking.query, MARGIN, MARGIN + HEADER, QUERY_WIDTH, TILE_HEIGHT + CAPTION)
    tile_top, text_left = MARGIN + step_y + HEADER, MARGIN + TILE_WIDTH + 1.2 * GAP
    sheet.draw_tile(ranking.query, MARGIN, tile_top, QUERY_COLOR)
    for line, text in enumerate(ranking.summary.split(", ")):
        sheet.write(text_left, tile_top + 0.17 + 0.22 * line, text, size=11, weight="bold")
    marked = _has_marks([ranking])
    sheet.draw_legend(text_left, tile_top + TILE_HEIGHT - 0.56, down=True, marked=marked)
    for index, person in enumerate(ranking.other_images):
        row, column = divmod(index, QUERY_TILES_PER_ROW)
        y = tile_top + (row + 1) * step_y
        sheet.draw_tile(person, MARGIN + column * step_x, y, QUERY_COLOR)

    for index, match in enumerate(ranking.matches):
        row, column = divmod(index, TILES_PER_ROW)
        sheet.draw_match(match, index + 1, left + column * step_x, MARGIN + HEADER + row * step_y)
    if not ranking.matches:
        sheet.write(left, MARGIN + HEADER, "no match in the gallery", color=FAINT_COLOR)
    sheet.save(path)


def draw_ranking_overview(rankings: Sequence[Ranking], path: str | Path) -> None:
    """Draw several queries, one per row: the tiles of the query, then those of its matches."""
    columns = max([6, *(len(ranking.matches) for ranking in rankings)])
    header = HEADER + 0.2
    step_x, step_y = TILE_WIDTH + GAP, header + TILE_HEIGHT + CAPTION + GAP
    query_columns = 1 + max([0, *(len(ranking.other_images) for ranking in rankings)])
    left = MARGIN + query_columns * step_x + GAP
    bottom = MARGIN + len(rankings) * step_y
    sheet = Sheet(left + columns * step_x - GAP + MARGIN, bottom + 0.2 + MARGIN)
    for row, ranking in enumerate(rankings):
        y = MARGIN + row * step_y + header
        text = f"{ranking.title}: {ranking.summary}"
        sheet.write(MARGIN, y - HEADER - 0.07, text, size=8.5, weight="bold")
        for index, person in enumerate([ranking.query, *ranking.other_images]):
            sheet.draw_tile(person, MARGIN + index * step_x, y, QUERY_COLOR)
        for index, match in enumerate(ranking.matches):
            sheet.draw_match(match, index + 1, left + index * step_x, y)
    sheet.draw_legend(MARGIN, bottom, down=False, marked=_has_marks(rankings))
    sheet.save(path)


def _has_marks(rankings: Sequence[Ranking]) -> bool:
    return any(match.correct is not None for ranking in rankings for match in ranking.matches)
