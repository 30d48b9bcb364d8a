"""Ranking sheets: colors, marks, sizes and texts."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from clsa_search.structures import PersonImage
from clsa_search.visualize import (
    MatchImage,
    Ranking,
    draw_ranking_overview,
    draw_ranking_sheet,
    sheet_layout,
    trim_to_tile,
)
from clsa_search.visualize.sheet_layout import CORRECT_COLOR, MATCH_COLORS, QUERY_COLOR, WRONG_COLOR
from tests.support.figure_cases import GRAY, color_share

BOX = np.array([60.0, 30.0, 90.0, 100.0])


def make_ranking(*correct, title="query 1", summary="found 1 of 2, AP 0.50"):
    matches = [trim_to_tile(MatchImage(GRAY, BOX, "a", 0.5, right)) for right in correct]
    return Ranking(PersonImage(GRAY, BOX, "q"), matches, title, summary)


def test_correct_and_wrong_matches_have_their_colors(tmp_path):
    draw_ranking_sheet(make_ranking(True, True, True), tmp_path / "right.png")
    draw_ranking_sheet(make_ranking(False, False, False), tmp_path / "wrong.png")
    # both colors are in the legend; a frame is much more than that
    assert color_share(tmp_path / "right.png", CORRECT_COLOR) > 5 * color_share(
        tmp_path / "right.png", WRONG_COLOR
    )
    assert color_share(tmp_path / "wrong.png", WRONG_COLOR) > 5 * color_share(
        tmp_path / "wrong.png", CORRECT_COLOR
    )


def test_matches_without_known_truth_have_gray_frames_and_no_marks(tmp_path, monkeypatch):
    marks = []
    original = sheet_layout.draw_mark
    monkeypatch.setattr(
        sheet_layout, "draw_mark", lambda *args: marks.append(args[1]) or original(*args)
    )
    for draw in (draw_ranking_sheet, lambda r, path: draw_ranking_overview([r], path)):
        draw(make_ranking(None, None, None, summary="3 matches"), tmp_path / "unknown.png")
        draw(make_ranking(True, False, None), tmp_path / "some.png")
        for color in (CORRECT_COLOR, WRONG_COLOR):
            assert color_share(tmp_path / "unknown.png", color) == 0
            assert color_share(tmp_path / "some.png", color) > 0.001
        unknown, some = (
            color_share(tmp_path / f"{name}.png", MATCH_COLORS[None])
            for name in ("unknown", "some")
        )
        assert unknown > 2 * some > 0
    assert marks == 2 * [True, False, True, False]  # on the tiles and in the legend of some.png


def test_all_images_of_a_query_are_shown(tmp_path, monkeypatch):
    """Sheets show two per row below the query; overviews show all side by side."""
    monkeypatch.setattr(sheet_layout, "DOTS_PER_INCH", 60)

    def measure(draw, *rankings):
        """Return the size, and the number of pixels in the color of queries."""
        draw(*rankings, tmp_path / "p.png")
        size = Image.open(tmp_path / "p.png").size
        return np.array(size), color_share(tmp_path / "p.png", QUERY_COLOR) * np.prod(size)

    few, many = make_ranking(None, None), make_ranking(*[None] * 20)
    alone, first, *further = [
        measure(draw_ranking_sheet, replace(few, other_images=[PersonImage(GRAY, BOX)] * count))
        for count in (0, 1, 2, 3)
    ]
    growth = first[0] - alone[0]
    assert growth[0] == 0 and growth[1] > 60
    assert [size.tolist() for size, _ in further] == [
        first[0].tolist(),
        pytest.approx((first[0] + growth).tolist(), abs=1),
    ]
    tile = first[1] - alone[1]
    assert [blue - alone[1] for _, blue in further] == pytest.approx([2 * tile, 3 * tile], rel=0.1)
    assert tile > 100
    sizes = [
        measure(draw_ranking_sheet, replace(many, other_images=[PersonImage(GRAY, BOX)] * count))[0]
        for count in (0, 4)
    ]
    assert (sizes[0] == sizes[1]).all()

    both = replace(few, other_images=[PersonImage(GRAY, BOX)] * 2)
    narrow, blue = measure(draw_ranking_overview, [few, few])
    wide, more_blue = measure(draw_ranking_overview, [few, both])
    assert wide[1] == narrow[1] and wide[0] - narrow[0] > 120
    assert more_blue == pytest.approx(2 * blue, rel=0.1)


def test_sheets_of_any_length_have_their_size(tmp_path):
    """Sheets with up to ten matches have one size; more matches add rows."""
    sizes = {}
    for count in (0, 3, 10, 12):
        draw_ranking_sheet(make_ranking(*[True] * count), tmp_path / f"{count}.png")
        sizes[count] = Image.open(tmp_path / f"{count}.png").size
    assert sizes[0] == sizes[3] == sizes[10]
    assert sizes[12][0] == sizes[10][0] and sizes[12][1] > sizes[10][1]


def test_the_overview_has_a_row_for_each_query(tmp_path):
    heights = []
    for count in (0, 1, 2, 3):
        draw_ranking_overview([make_ranking(True, False)] * count, tmp_path / "o.png")
        heights.append(Image.open(tmp_path / "o.png").size[1])
    assert np.diff(heights) == pytest.approx(heights[1] - heights[0], abs=1) and heights[0] > 0


def test_text_is_taken_original(tmp_path):
    """A name with $ is not a formula, and a long name is cut."""
    person = PersonImage(GRAY, BOX, "$broken_{ " + "x" * 200)
    draw_ranking_sheet(Ranking(person, [], "$a^", "$b_, $"), tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").size[0] > 0


@pytest.mark.parametrize("name", ["\udcff\udcfe", "a\nb\x1b[31m", "\u4eba\U0001f600", "\ud800"])
def test_a_name_of_any_characters_is_drawn_without_a_word(tmp_path, name):
    ranking = Ranking(PersonImage(GRAY, BOX, name), [], name, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_ranking_sheet(ranking, tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").size[0] > 0
