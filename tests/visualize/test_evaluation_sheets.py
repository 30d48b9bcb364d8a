"""Ranking sheets of evaluated predictions: choice of queries, files, colors."""

import re

import numpy as np
import pytest
from PIL import Image

from clsa_search.evaluation import evaluate_search
from clsa_search.visualize import draw_changes, draw_rankings
from clsa_search.visualize.evaluation_sheets import choose_queries
from clsa_search.visualize.sheet_layout import CORRECT_COLOR, WRONG_COLOR
from tests.support.figure_cases import color_share, make_searched_dataset


@pytest.fixture
def searched(tmp_path):
    return make_searched_dataset(tmp_path)


def test_queries_are_chosen_from_best_to_worst():
    quality = np.array([0.2, 1.0, 0.4, 1.0, 0.0])
    assert choose_queries(quality, 3).tolist() == [1, 2, 4]
    assert choose_queries(quality, 2).tolist() == [1, 4]
    assert choose_queries(quality, 9).tolist() == [1, 3, 2, 0, 4]
    assert choose_queries(quality, 0).tolist() == choose_queries(np.zeros(0), 3).tolist() == []


def test_sheets_are_drawn_from_predictions(tmp_path, searched):
    records, protocol, predictions = searched
    result = evaluate_search(predictions, protocol)
    given = predictions, result, records, protocol
    paths = draw_rankings(*given, tmp_path / "new", count=2, top=3)
    assert [path.name for path in paths] == ["rankings.png", "query_0.png", "query_2.png"]
    assert all(path.parent == tmp_path / "new" and path.stat().st_size for path in paths)
    best, worst = paths[1:]
    assert color_share(best, CORRECT_COLOR) > 5 * color_share(best, WRONG_COLOR)
    assert color_share(worst, WRONG_COLOR) > 5 * color_share(worst, CORRECT_COLOR)
    assert draw_rankings(*given, tmp_path / "none", count=0) == []
    assert not (tmp_path / "none").exists()


def test_an_unreadable_image_is_named_and_does_not_end_the_sheets(tmp_path, searched, caplog):
    records, protocol, predictions = searched
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no picture")
    result = evaluate_search(predictions, protocol)
    sides = {"before": (predictions, result)}
    for name, problem in [("broken.png", "not readable as"), ("none.png", "no such file")]:
        moved = [*records[:3], records[3] | {"file_name": str(tmp_path / name)}]
        folder = tmp_path / f"sheets_{name}"
        assert len(draw_rankings(predictions, result, moved, protocol, folder, count=3)) == 4
        assert len(draw_changes(sides, moved, protocol, [0, 1], folder)) == 3
        assert len(caplog.messages) == 2  # once for each drawing
        for message in caplog.messages:
            assert re.search(f"{name}: .*{problem}", message)
        caplog.clear()
    only_queries = [records[0] | {"file_name": "none.png"}, *records[1:]]
    assert len(draw_rankings(predictions, result, only_queries, protocol, tmp_path, count=1)) == 2


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
    right_share, wrong_share = (
        color_share(paths[1], CORRECT_COLOR),
        color_share(paths[1], WRONG_COLOR),
    )
    assert right_share == pytest.approx(wrong_share, rel=0.5) and right_share > 0.001
    heights = [Image.open(path).size[1] for path in paths]
    assert heights[0] > 1.7 * heights[1]
    assert draw_changes(sides, records, protocol, [], tmp_path / "none") == []
