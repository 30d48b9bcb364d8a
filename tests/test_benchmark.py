"""The command tools/benchmark.py, and the predictions that it generates."""

import json

import numpy as np
import pytest
import torch
from conftest import load_tool

from clsa_search.errors import InputError
from clsa_search.evaluation import benchmark, check_predictions, evaluate_search, save_predictions
from clsa_search.benchmark.measuring import peak_memory

SMALL = benchmark.SIZES["CUHK-SYSU"].scale(0.02)


def test_generated_predictions_are_like_real_ones(tmp_path):
    predictions, protocols = benchmark.generate_predictions(SMALL, width=128)
    save_predictions(predictions, tmp_path / "p.npz")  # which validates
    assert [len(p.gallery_images) for p in protocols] == [58 * g for g in SMALL.galleries]
    for protocol in protocols:
        ends = zip(protocol.gallery_offsets, protocol.gallery_offsets[1:], strict=False)
        galleries = [protocol.gallery_images[slice(*end)] for end in ends]
        assert all(len(set(gallery.tolist())) == len(gallery) for gallery in galleries)
    result = evaluate_search(predictions, protocols[-1], device="cpu")
    found = result.targets > 0
    assert (result.found == result.targets).all()
    assert found.any() and 50 < 100 * result.average_precision[found].mean() < 100
    with pytest.raises(InputError, match="image_ids"):
        check_predictions(predictions, [])


def test_memory_of_what_is_done_is_seen():
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
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith(("CUHK-SYSU x 6", "PRW x 1")) for line in lines) == 4
    document = json.loads((tmp_path / "new" / "b.json").read_text())
    assert document["machine"]["torch"] == torch.__version__
    rows = document["evaluation"]
    assert [(r["benchmark"], r["width"], r["protocols"]) for r in rows] == [
        *(("CUHK-SYSU", 8, 6), ("CUHK-SYSU", 16, 6), ("PRW", 8, 1), ("PRW", 16, 1))
    ]
    for row in rows:
        assert row["ratio"] == pytest.approx(row["seconds"] / row["product_seconds"])
        seconds = [row[name] for name in ("seconds", "cbgm_seconds", "k_reciprocal_seconds")]
        assert min(*seconds, row["mAP"]) > 0


def test_the_store_is_measured_too(tool, tmp_path, capsys):
    options = "--rows 1003 --widths 8 16 --queries 3 --repeat 1 --device cpu".split()
    paths = ["--folder", str(tmp_path), "--json", str(tmp_path / "b.json")]
    tool.main(["store", *options, *paths])
    assert capsys.readouterr().out.count("added per second") == 2
    rows = json.loads((tmp_path / "b.json").read_text())["store"]
    assert [(row["rows"], row["width"]) for row in rows] == [(1003, 8), (1003, 16)]
    assert all(value > 0 for row in rows for name, value in row.items() if name != "memory")
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]  # nothing is left
    with pytest.raises(SystemExit):
        tool.main(["store", "--rows", "0"])
    assert "error: --rows: 0; expected" in capsys.readouterr().err
