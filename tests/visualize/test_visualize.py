"""Pictures: that they show what they are given, in the colors and places that say so."""

import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from clsa_search.data import load_custom_json, save_custom_json
from clsa_search.errors import InputError
from clsa_search.evaluation import (
    compare_gallery_sizes,
    evaluate_scale_ratios,
    evaluate_search,
    evaluate_target_heights,
)
from clsa_search.evaluation.predictions import Predictions
from clsa_search.evaluation.protocol import full_gallery_protocol
from clsa_search.structures import ImageDetections, Queries, Ragged
from clsa_search.visualize import (
    MatchImage,
    PersonImage,
    Ranking,
    draw_buckets,
    draw_changes,
    draw_curves,
    draw_gallery_sizes,
    draw_ranking_overview,
    draw_ranking_sheet,
    draw_rankings,
    sheet,
)
from clsa_search.visualize.curves import COLORS, read_metrics, smooth
from clsa_search.visualize.prediction_sheets import choose_queries
from clsa_search.visualize.sheet import CORRECT_COLOR, MATCH_COLORS, QUERY_COLOR, WRONG_COLOR
from clsa_search.visualize.tiles import choose_window, trim_to_tile

GREY = np.full((120, 160, 3), 128, dtype=np.uint8)
BOX = np.array([60.0, 30.0, 90.0, 100.0])


def share(picture, color):
    """Share of the pixels of a picture (a path) that have exactly the color."""
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    return float((pixels == np.round(np.array(to_rgb(color)) * 255)).all(axis=-1).mean())


def ranking(*correct, title="query 1", summary="found 1 of 2, AP 0.50"):
    matches = [trim_to_tile(MatchImage(GREY, BOX, "a", 0.5, right)) for right in correct]
    return Ranking(PersonImage(GREY, BOX, "q"), matches, title, summary)


def test_right_and_wrong_show_in_their_colors(tmp_path):
    draw_ranking_sheet(ranking(True, True, True), tmp_path / "right.png")
    draw_ranking_sheet(ranking(False, False, False), tmp_path / "wrong.png")
    # both colors are in the legend; a frame is much more than that
    assert share(tmp_path / "right.png", CORRECT_COLOR) > 5 * share(
        tmp_path / "right.png", WRONG_COLOR
    )
    assert share(tmp_path / "wrong.png", WRONG_COLOR) > 5 * share(
        tmp_path / "wrong.png", CORRECT_COLOR
    )


def test_where_nobody_knows_frames_are_grey(tmp_path, monkeypatch):
    marks = []
    literally = sheet.draw_mark
    monkeypatch.setattr(sheet, "draw_mark", lambda *args: marks.append(args[1]) or literally(*args))
    for draw in (draw_ranking_sheet, lambda r, path: draw_ranking_overview([r], path)):
        draw(ranking(None, None, None, summary="3 matches"), tmp_path / "unknown.png")
        draw(ranking(True, False, None), tmp_path / "some.png")
        for color in (CORRECT_COLOR, WRONG_COLOR):
            assert share(tmp_path / "unknown.png", color) == 0
            assert share(tmp_path / "some.png", color) > 0.001
        unknown, some = (
            share(tmp_path / f"{name}.png", MATCH_COLORS[None]) for name in ("unknown", "some")
        )
        assert unknown > 2 * some > 0
    assert marks == 2 * [True, False, True, False]  # on the tiles and in the legend, of some


def test_all_pictures_of_a_query_are_shown(tmp_path, monkeypatch):
    """Two a row on a sheet, under one another where its matches have rows; side by side above."""
    monkeypatch.setattr(sheet, "DOTS_PER_INCH", 60)

    def measure(draw, *rankings):
        """Size, and pixels in the query's color."""
        draw(*rankings, tmp_path / "p.png")
        size = Image.open(tmp_path / "p.png").size
        return np.array(size), share(tmp_path / "p.png", QUERY_COLOR) * np.prod(size)

    few, many = ranking(None, None), ranking(*[None] * 20)
    alone, first, *further = [
        measure(draw_ranking_sheet, replace(few, other_images=[PersonImage(GREY, BOX)] * count))
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
        measure(draw_ranking_sheet, replace(many, other_images=[PersonImage(GREY, BOX)] * count))[0]
        for count in (0, 4)
    ]
    assert (sizes[0] == sizes[1]).all()

    both = replace(few, other_images=[PersonImage(GREY, BOX)] * 2)
    narrow, blue = measure(draw_ranking_overview, [few, few])
    wide, more_blue = measure(draw_ranking_overview, [few, both])
    assert wide[1] == narrow[1] and wide[0] - narrow[0] > 120
    assert more_blue == pytest.approx(2 * blue, rel=0.1)


def test_sheets_of_any_length_have_their_size(tmp_path):
    """Up to ten matches fill two rows, so that sheets stand beside each other; more make rows."""
    sizes = {}
    for count in (0, 3, 10, 12):
        draw_ranking_sheet(ranking(*[True] * count), tmp_path / f"{count}.png")
        sizes[count] = Image.open(tmp_path / f"{count}.png").size
    assert sizes[0] == sizes[3] == sizes[10]
    assert sizes[12][0] == sizes[10][0] and sizes[12][1] > sizes[10][1]


def test_the_overview_has_a_row_for_each_query(tmp_path):
    heights = []
    for count in (0, 1, 2, 3):
        draw_ranking_overview([ranking(True, False)] * count, tmp_path / "o.png")
        heights.append(Image.open(tmp_path / "o.png").size[1])
    assert np.diff(heights) == pytest.approx(heights[1] - heights[0], abs=1) and heights[0] > 0


def test_text_is_taken_literally(tmp_path):
    """A name with $ is no formula, and one that is too long is cut."""
    sighting = PersonImage(GREY, BOX, "$broken_{ " + "x" * 200)
    draw_ranking_sheet(Ranking(sighting, [], "$a^", "$b_, $"), tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").size[0] > 0


@pytest.mark.parametrize(
    "box",
    [
        (60, 30, 90, 100),  # inside
        (0, 0, 10, 30),  # in a corner
        (150, 100, 160, 120),
        (0, 0, 160, 120),  # the whole image
        (5, 50, 155, 60),  # wide
        (80, 60, 80.5, 60.5),  # less than a pixel
        (80, 60, 80, 60),  # nothing
        (160, 120, 160, 120),
    ],
)
def test_a_window_holds_its_box_and_stays_in_the_image(box):
    window = choose_window(np.array(box), GREY.shape, 0.7)
    size = window[2:] - window[:2]
    assert size[0] / size[1] == pytest.approx(0.7)
    assert (window[:2] <= box[:2]).all() and (window[2:] >= box[2:]).all()
    for axis, length in enumerate((160, 120)):
        if size[axis] <= length:
            assert 0 <= window[axis] and window[axis + 2] <= length + 1e-9
        else:  # the image lies in the middle of the window
            assert window[axis] == pytest.approx(length - window[axis + 2])
    trimmed = trim_to_tile(PersonImage(GREY, np.array(box)))
    assert trimmed.image.size
    again = choose_window(trimmed.box, trimmed.image.shape, 0.7)
    assert again[2:] - again[:2] == pytest.approx(size)


def test_queries_are_chosen_from_best_to_worst():
    quality = np.array([0.2, 1.0, 0.4, 1.0, 0.0])
    assert choose_queries(quality, 3).tolist() == [1, 2, 4]
    assert choose_queries(quality, 2).tolist() == [1, 4]
    assert choose_queries(quality, 9).tolist() == [1, 3, 2, 0, 4]
    assert choose_queries(quality, 0).tolist() == choose_queries(np.zeros(0), 3).tolist() == []


@pytest.fixture
def searched(tmp_path):
    """Persons 0, 1, 2 in each of four pictures, a query for each on the first.

    The embeddings of the gallery take persons 1 and 2 for each other.
    """
    Image.fromarray(GREY).save(tmp_path / "gray.png")
    boxes = [[10, 20, 20, 50], [60, 20, 20, 50], [110, 20, 20, 50]]
    people = [{"bbox": box, "person_id": i} for i, box in enumerate(boxes)]
    save_custom_json(
        tmp_path / "gallery.json",
        images=[
            {"id": i, "file_name": "gray.png", "width": 160, "height": 120, "cam_id": 1}
            for i in range(4)
        ],
        annotations=[{"image_id": i} | person for i in range(4) for person in people],
        queries=[{"image_id": 0} | person for person in people],
    )
    records = load_custom_json(tmp_path / "gallery.json")
    corners = np.array([person["bbox"] for person in records[0]["annotations"]], dtype=np.float32)
    one_hot = np.eye(3, dtype=np.float32)
    detections = ImageDetections(corners, np.ones(3, dtype=np.float32), one_hot[[0, 2, 1]])
    image_ids = np.array([record["image_id"] for record in records])
    predictions = Predictions(
        image_ids=image_ids,
        detections=Ragged.from_lengths(ImageDetections.concatenate([detections] * 4), [3] * 4),
        queries=Queries(np.arange(3), corners, one_hot, image_ids[[0, 0, 0]]),
        meta={},
    )
    return records, full_gallery_protocol(records), predictions


def test_sheets_are_drawn_from_predictions(tmp_path, searched):
    records, protocol, predictions = searched
    result = evaluate_search(predictions, protocol)
    given = predictions, result, records, protocol
    paths = draw_rankings(*given, tmp_path / "new", count=2, top=3)
    assert [path.name for path in paths] == ["rankings.png", "query_0.png", "query_2.png"]
    assert all(path.parent == tmp_path / "new" and path.stat().st_size for path in paths)
    best, worst = paths[1:]
    assert share(best, CORRECT_COLOR) > 5 * share(best, WRONG_COLOR)
    assert share(worst, WRONG_COLOR) > 5 * share(worst, CORRECT_COLOR)
    assert draw_rankings(*given, tmp_path / "none", count=0) == []
    assert not (tmp_path / "none").exists()


def test_an_unreadable_image_is_named(tmp_path, searched):
    records, protocol, predictions = searched
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no picture")
    result = evaluate_search(predictions, protocol)
    for name, problem in [("broken.png", "not readable as"), ("none.png", "no such file")]:
        moved = [record | {"file_name": str(tmp_path / name)} for record in records]
        with pytest.raises(InputError, match=f"{name}: .*{problem}"):
            draw_rankings(predictions, result, moved, protocol, tmp_path, count=1)


def write_lines(path, entries, tail=""):
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries) + tail)
    return path


def test_curves_of_a_resumed_run(tmp_path):
    """What was done again counts once; torn lines and NaN are passed over."""
    entries = [
        {"iteration": 19, "total_loss": 9.0, "loss_cls": 4.0, "lr": 0.1},
        {"iteration": 39, "total_loss": 8.0, "loss_cls": float("nan")},
        {"iteration": 39, "total_loss": 7.0, "loss_cls": 3.0, "search/mAP": 50.0},
    ]
    path = write_lines(tmp_path / "metrics.json", entries, tail='{"iteration": 59, "tot')
    stopped, *rest = path.read_text().splitlines(keepends=True)
    # stopped twice: once the next run began a line of its own, once it wrote on
    path.write_text("".join([stopped, stopped[:20], "\n", stopped[:30], stopped, *rest]))
    series = read_metrics(path)
    assert series["total_loss"][0].tolist() == [19, 39]
    assert series["total_loss"][1].tolist() == [9.0, 7.0]
    assert series["loss_cls"][1].tolist() == [4.0, 3.0]
    draw_curves(path, tmp_path / "new" / "curves.png")
    both = Image.open(tmp_path / "new" / "curves.png").size
    draw_curves(write_lines(tmp_path / "l.json", entries[:2]), tmp_path / "losses.png")
    assert both[0] == 2 * Image.open(tmp_path / "losses.png").size[0]  # two panels, and one


def test_curves_know_evaluations_by_their_group(tmp_path):
    """Several test sets and protocols are drawn; Detectron2's own counters are not."""
    drawn = ["a/search/mAP", "b/search_cross/mAP", "detection/AP", "chance/mAP"]
    for name in drawn:
        path = write_lines(tmp_path / "m.json", [{"iteration": 1, name: 5.0}])
        draw_curves(path, tmp_path / "curves.png")
    path = write_lines(tmp_path / "m.json", [{"iteration": 1, "rpn/num_pos_anchors": 5.0}])
    with pytest.raises(InputError, match="m.json: no loss and no metric; expected"):
        draw_curves(path, tmp_path / "curves.png")


def test_curves_of_a_wrong_file(tmp_path):
    with pytest.raises(InputError, match="none.json: not a readable file"):
        draw_curves(tmp_path / "none.json", tmp_path / "curves.png")
    for line in ("[1]", '{"total_loss": 1}'):
        (tmp_path / "m.json").write_text(f'{{"iteration": 1, "total_loss": 2}}\n{line}\n')
        with pytest.raises(InputError, match="m.json: line 2 is .*; expected a JSON object with"):
            draw_curves(tmp_path / "m.json", tmp_path / "curves.png")
    (tmp_path / "m.json").write_text("no\njson\n")
    with pytest.raises(InputError, match="m.json: no loss and no metric"):
        draw_curves(tmp_path / "m.json", tmp_path / "curves.png")


def test_smoothing_keeps_length_and_straight_lines():
    values = np.arange(10.0)
    assert smooth(values, 5) == pytest.approx(values)
    assert smooth(np.array([0.0, 3.0, 0.0, 3.0, 0.0]), 3) == pytest.approx([0, 1, 2, 1, 0])
    assert smooth(np.array([4.0]), 7) == pytest.approx([4.0])


def test_changes_are_drawn_side_by_side(tmp_path, searched):
    records, protocol, predictions = searched
    embeddings = np.tile(np.eye(3, dtype=np.float32), (4, 1))
    right = predictions.replace_embeddings(embeddings, predictions.queries.embeddings)
    sides = {
        name: (side, evaluate_search(side, protocol))
        for name, side in (("before", predictions), ("now", right))
    }
    paths = draw_changes(sides, records, protocol, [2, 1], tmp_path / "new", top=3)
    assert [path.name for path in paths] == ["changes.png", "change_2.png", "change_1.png"]
    # wrong before, right now: two rows with as many frames of either color
    right_share, wrong_share = share(paths[1], CORRECT_COLOR), share(paths[1], WRONG_COLOR)
    assert right_share == pytest.approx(wrong_share, rel=0.5) and right_share > 0.001
    heights = [Image.open(path).size[1] for path in paths]
    assert heights[0] > 1.7 * heights[1]
    assert draw_changes(sides, records, protocol, [], tmp_path / "none") == []


def test_breakdowns_are_plotted(tmp_path, searched):
    records, protocol, predictions = searched
    result = evaluate_search(predictions, protocol)
    buckets = {
        "scale_ratio": evaluate_scale_ratios(result, protocol, records),
        "target_height": evaluate_target_heights(result, protocol),
    }
    draw_buckets(buckets, tmp_path / "new" / "scale.png")
    bar = share(tmp_path / "new" / "scale.png", COLORS[0])
    assert bar > 0.001
    perfect = {k: [replace(b, mAP=100) for b in values] for k, values in buckets.items()}
    draw_buckets(perfect, tmp_path / "perfect.png")
    assert share(tmp_path / "perfect.png", COLORS[0]) > 1.2 * bar
    sizes = compare_gallery_sizes([result, result], [protocol, protocol])
    draw_gallery_sizes(sizes, tmp_path / "sizes.png")
    assert share(tmp_path / "sizes.png", COLORS[0]) > 0
