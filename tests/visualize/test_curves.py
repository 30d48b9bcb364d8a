"""Training curves: files of resumed runs, choice of metrics, smoothing."""

import json

import numpy as np
import pytest
from PIL import Image

from clsa_search.errors import InputError
from clsa_search.visualize import draw_curves
from clsa_search.visualize.curves import read_metrics, smooth


def write_lines(path, rows, tail=""):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows) + tail)
    return path


def test_curves_of_a_resumed_run(tmp_path):
    """Repeated iterations count once; torn lines and NaN are skipped."""
    rows = [
        {"iteration": 19, "total_loss": 9.0, "loss_cls": 4.0, "lr": 0.1},
        {"iteration": 39, "total_loss": 8.0, "loss_cls": float("nan")},
        {"iteration": 39, "total_loss": 7.0, "loss_cls": 3.0, "search/mAP": 50.0},
    ]
    path = write_lines(tmp_path / "metrics.json", rows, tail='{"iteration": 59, "tot')
    stopped, *rest = path.read_text().splitlines(keepends=True)
    # stopped twice: one next run started a new line, the other continued the torn one
    path.write_text("".join([stopped, stopped[:20], "\n", stopped[:30], stopped, *rest]))
    series = read_metrics(path)
    assert series["total_loss"][0].tolist() == [19, 39]
    assert series["total_loss"][1].tolist() == [9.0, 7.0]
    assert series["loss_cls"][1].tolist() == [4.0, 3.0]
    draw_curves(path, tmp_path / "new" / "curves.png")
    both = Image.open(tmp_path / "new" / "curves.png").size
    draw_curves(write_lines(tmp_path / "l.json", rows[:2]), tmp_path / "losses.png")
    assert both[0] == 2 * Image.open(tmp_path / "losses.png").size[0]  # two panels, and one


def test_curves_recognize_evaluations_by_their_group(tmp_path):
    """Several test sets and protocols appear; Detectron2's own counters do not."""
    names = ["a/search/mAP", "b/search_cross/mAP", "detection/AP", "chance/mAP"]
    for name in names:
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
