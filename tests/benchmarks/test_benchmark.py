"""Command tools/benchmark.py: its options, table and JSON, and its random predictions."""

import json

import numpy as np
import pytest
import torch

from benchmarks.speed.evaluation import generate_predictions
from benchmarks.speed.settings import DATASET_SIZES, DTYPES
from benchmarks.speed.timing import peak_memory
from clsa_search.engine import precision
from clsa_search.errors import InputError
from clsa_search.evaluation import check_predictions, evaluate_search, save_predictions
from tests.support.tiny import load_tool

SMALL = DATASET_SIZES["CUHK-SYSU"].scale(0.02)


def test_generated_predictions_are_valid(tmp_path):
    predictions, protocols = generate_predictions(SMALL, width=128)
    save_predictions(predictions, tmp_path / "p.npz")  # validates
    assert [len(p.galleries.values) for p in protocols] == [58 * g for g in SMALL.galleries]
    for protocol in protocols:
        galleries = [protocol.galleries.row(query) for query in range(len(protocol.galleries))]
        assert all(len(set(gallery.tolist())) == len(gallery) for gallery in galleries)
    result = evaluate_search(predictions, protocols[-1], device="cpu")
    found = result.targets > 0
    assert (result.found == result.targets).all()
    assert found.any() and 50 < 100 * result.average_precision[found].mean() < 100
    with pytest.raises(InputError, match="image_ids"):
        check_predictions(predictions, [])


def test_dtypes_are_those_of_the_engine():
    assert set(DTYPES) == set(precision.DTYPES)


def test_peak_memory_counts_a_temporary_array():
    extra, result = peak_memory(lambda: np.ones(1 << 24).sum(), torch.device("cpu"))
    assert result == 1 << 24
    assert 100 < extra < 400  # 128 MB were written


@pytest.fixture
def tool():
    return load_tool("benchmark")


@pytest.mark.parametrize(
    ("option", "value"),
    [("repeat", "0"), ("scale", "0"), ("scale", "nan"), ("widths", "-8"), ("device", "nope")],
)
def test_bad_options_are_named(tool, capsys, option, value):
    with pytest.raises(SystemExit) as stop:
        tool.main(["evaluation", f"--{option}", value])
    assert stop.value.code == 2
    assert f"error: --{option}: {value}" in capsys.readouterr().err


def test_the_command_prints_a_table_and_writes_json(tool, tmp_path, capsys):
    options = "--widths 8 16 --scale 0.02 --repeat 1 --device cpu --json".split()
    tool.main(["evaluation", *options, str(tmp_path / "new" / "b.json")])
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    document = json.loads((tmp_path / "new" / "b.json").read_text())
    assert document["machine"]["torch"] == torch.__version__
    rows = document["evaluation"]
    assert len(table) == 2 + len(rows)
    plain = [row for row in rows if " x " in row["name"]]
    assert [row["name"] for row in plain] == [
        *("CUHK-SYSU x 6, width 8", "CUHK-SYSU x 6, width 16"),
        *("PRW x 1, width 8", "PRW x 1, width 16"),
    ]
    rest = [row["name"] for row in rows if row not in plain]
    assert [sum(name in row for row in rest) for name in ("CBGM", "k-reciprocal")] == [4, 4]
    for row in rows:
        assert row["time / product"] == pytest.approx(row["seconds"] / row["limit_seconds"])
        assert row["mAP"] > 0
    for row, queries, width in zip(plain, (58, 58, 41, 41), (8, 16, 8, 16), strict=True):
        assert row["queries"] == queries
        assert row["total seconds"] == pytest.approx(queries * row["seconds"])
        assert row["flops"] == 2 * 760 * width  # of one query
        assert row["bytes"] == 4 * 760 * width // queries  # all embeddings are read once


def test_the_command_measures_a_gallery(tool, tmp_path, capsys):
    options = "--detections 1002 --widths 8 16 --queries 3 --repeat 1 --device cpu".split()
    paths = ["--folder", str(tmp_path), "--json", str(tmp_path / "b.json")]
    tool.main(["query", *options, *paths])
    rows = json.loads((tmp_path / "b.json").read_text())["query"]
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]  # nothing is left
    assert [row["name"] for row in rows if "16" in row["name"]] == [
        *("adding, width 16", "opening, width 16", "one query, width 16"),
        *("one query, one camera in four, width 16", "one query, best of each image, width 16"),
        *("batch of 3, width 16", "batch of 3, one camera in four, width 16"),
        "batch of 3, best of each image, width 16",
    ]
    assert all(row["seconds"] > 0 and row["limit_seconds"] > 0 for row in rows)
    named = {row["name"]: row for row in rows}
    assert named["opening, width 8"]["bytes"] == 2 * 4 * 1002 * 8  # from the file, to memory
    one, batch = named["one query, width 8"], named["batch of 3, width 8"]
    assert one["flops"] == batch["flops"] == 2 * 1002 * 8
    assert one["bytes"] == 3 * batch["bytes"] == 4 * 1002 * 8
    camera = named["one query, one camera in four, width 8"]
    assert camera["flops"] == 2 * 8 * 250  # 201 images of 5 people, the last of 2
    assert one["times a bare product"] > 0 and batch["times a bare product"] > 0
    assert camera["times all cameras"] == pytest.approx(camera["seconds"] / one["seconds"])


@pytest.mark.parametrize(
    ("option", "value"), [("detections", "0"), ("queries", "-1"), ("folder", "not_there")]
)
def test_bad_gallery_options_are_named(tool, capsys, option, value):
    with pytest.raises(SystemExit) as stop:
        tool.main(["query", f"--{option}", value])
    assert stop.value.code == 2
    assert f"error: --{option}: {value}" in capsys.readouterr().err
