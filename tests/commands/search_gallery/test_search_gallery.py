"""The command clsa-search: indexing, queries, lists, deletion, copies, wrong arguments."""

import json
import re
import subprocess
import sys

import pytest
import torch
from detectron2.modeling import build_model

from clsa_search.commands.search_gallery import PRECISIONS
from clsa_search.engine.precision import DTYPES
from clsa_search.errors import InputError
from clsa_search.gallery import open_store
from clsa_search.gallery.sqlite_store import SQLiteStore
from clsa_search.retrieval import Indexer, open_gallery
from tests.support.footage import BlockPredictor, write_image
from tests.support.photographs import add_photographs


def test_index_prints_a_summary(run, footage):
    words = ["index", "--weights", "weights.pth", "--store", "street.db", "--rate", 2, footage]
    (footage / "cut.png").write_bytes(b"")
    (footage / "notes.txt").touch()
    printed = run(*words, status=1).splitlines()
    assert printed[0].startswith(
        "street.db: 11 detections in 6 images added, 0 files already indexed"
    )
    assert printed[1] == "1 file is neither image nor video by name, and passed over: 1 .txt"
    assert printed[2].startswith(f"problem: {footage / 'cut.png'}: not readable as an image")
    assert printed[3].startswith("street.db: not calibrated: 2 pairs of certain strangers")
    assert printed[4:] == ["street.db: 5 sightings, 11 detections in all"]
    (footage / "cut.png").unlink()
    assert run(*words).startswith(
        "street.db: 0 detections in 0 images added, 3 files already indexed"
    )


def test_every_problem_is_printed_with_escaped_names(run, footage):
    for i in range(30):
        (footage / f"torn\x1b[2J\n{i}.png").write_bytes(b"")
    printed = run("index", "--weights", "weights.pth", "--store", "a\tb.db", footage, status=1)
    assert "\x1b" not in printed
    lines = printed.splitlines()
    assert sum(line.startswith("problem: ") for line in lines) == 30
    assert all(any(rf"torn\x1b[2J\n{i}.png" in line for line in lines) for i in range(30))
    name = footage / "odd\x1b[2J\n.png"
    write_image(footage / "good.png", {0: 10}).rename(name)
    run("index", "--weights", "weights.pth", "--store", "odd.db", name)
    assert r"odd\x1b[2J\n.png" in run("list", "odd.db")
    assert r"odd\x1b[2J\n.png" in run("delete", "odd.db", name, "--yes", "--force")


def test_the_summary_is_printed_after_a_failure_too(run, fails, footage, monkeypatch, capsys):
    (footage / "a.png").write_bytes(b"")

    def fail(*args):
        raise InputError("street.db: cannot add: the disk is full")

    monkeypatch.setattr(SQLiteStore, "add", fail)
    with pytest.raises(SystemExit) as stop:
        run("index", "--weights", "weights.pth", "--store", "street.db", footage)
    assert stop.value.code == 2
    printed, error = capsys.readouterr()
    assert f"problem: {footage / 'a.png'}: not readable" in printed
    assert error.splitlines()[-1] == "error: street.db: cannot add: the disk is full"


def test_sightings_are_linked_after_indexing_and_by_command(run, gallery, footage):
    with open_store(gallery) as store:
        assert store.unlinked() == []
        linked = store.tracklets()
        store.reset_tracklets()
        assert store.unlinked() == [str(footage / "door.avi")]
    index = "index", "--weights", "weights.pth", "--store", gallery, "--rate", 2, footage
    printed = run(*index)  # as after a kill before linking
    assert "3 files already indexed" in printed and "5 sightings, 11 detections" in printed
    with open_store(gallery) as store:
        assert store.tracklets() == linked
        store.reset_tracklets()
    assert "door.avi: 2 sightings" in run("link", gallery)
    assert run("link", gallery) == f"{gallery}: 5 sightings, 11 detections\n"
    assert "door.avi: 2 sightings" in run("link", gallery, "--again")
    with open_store(gallery) as store:
        assert store.tracklets() == linked


def test_linking_alone_calibrates_where_it_is_needed(run):
    with open_store("street.db", weights="w", create=True) as store:
        add_photographs(store, 100, camera="north")
    printed = run("link", "street.db")
    assert printed.endswith("calibrated by 600 pairs of certain strangers in 400 sightings\n")
    with open_store("street.db", weights="w") as store:
        add_photographs(store, 20, camera="south")  # fewer than a quarter more
    assert run("link", "street.db") == "street.db: 480 sightings, 480 detections\n"


def test_wrong_paths_create_no_store(fails, footage, tmp_path):
    words = ["index", "--weights", "weights.pth", "--store", "new.db"]
    assert "gone: No such file" in fails(*words, footage, "gone")
    assert not (tmp_path / "new.db").exists()


def test_a_gallery_is_calibrated(run, fails, gallery, footage):
    printed = run("calibrate", gallery)
    assert re.fullmatch(
        r"street.db: not calibrated: \d+ pairs? of certain strangers, fewer than 500; "
        "searches give ranks only\n",
        printed,
    )
    assert "apart: there is no camera a;" in fails("calibrate", gallery, "--apart", "north", "a")
    bounded = "query", "--store", gallery, "--image", footage / "two.png", "--max-strangers", "1"
    assert "is not calibrated" in fails(*bounded)
    assert "expected it with --per sighting" in fails(*bounded, "--per", "image")
    run("copy", gallery, "copy.db")
    with open_store("copy.db") as copy:
        assert len(copy.notes("calibration")) == 1


def test_interruptions_keep_stored_detections(run, footage, monkeypatch):
    detect = BlockPredictor.detect

    def detect_some(self, images):
        if self.num_images:
            raise KeyboardInterrupt
        return detect(self, images)

    words = ["index", "--weights", "weights.pth", "--store", "street.db", "--batch-size", 2]
    with monkeypatch.context() as patch:
        patch.setattr(BlockPredictor, "detect", detect_some)
        printed = run(*words, footage, status=130)
    assert "3 detections in 2 images added" in printed and "interrupted: run the same" in printed
    assert "2 files already indexed" in run(*words, footage)


def test_other_weights_are_refused(run, fails, gallery, footage, tmp_path, monkeypatch):
    monkeypatch.setattr(BlockPredictor, "weights_sha256", "c" * 64)
    (tmp_path / "other.pth").touch()
    words = ["index", "--weights", "other.pth", "--store", gallery, footage]
    assert "embeddings of different weights cannot be compared" in fails(*words)
    words = ["query", "--store", gallery, "--image", footage / "two.png"]
    assert "embeddings of different weights cannot be compared" in fails(*words)


def test_weights_are_remembered_or_requested(run, fails, gallery, footage, tmp_path):
    words = ["query", "--store", gallery, "--image", footage / "two.png"]
    (tmp_path / "weights.pth").rename(tmp_path / "moved.pth")
    message = fails(*words)
    assert f"its weights {tmp_path / 'weights.pth'} do not exist; expected --weights" in message
    assert "two.png" in run(*words, "--weights", "moved.pth")
    message = fails("query", "--store", "gone.db", *words[3:])
    assert "gone.db: there is no gallery; make it with `clsa-search index`" in message


def test_precisions_are_those_of_the_engine():
    assert list(PRECISIONS) == list(DTYPES)


LIGHT = """
import sys
from clsa_search.commands.search_gallery import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
heavy = "torch detectron2 cv2 matplotlib scipy pymilvus tabulate tqdm".split()
assert not [name for name in heavy if name in sys.modules], heavy
"""


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "query --help",
        "query --store g.db",
        "query --store g.db --image a.jpg --since noon",
        "query --store g.db --image a.jpg --box 1,2",
        "query --store g.db --image a.jpg --min-score 2",
        "index --store g.db --weights w.pth --rate 0 .",
        "index --store g.db --weights w.pth missing",
    ],
)
def test_help_and_wrong_arguments_answer_before_heavy_imports(words):
    subprocess.run([sys.executable, "-c", LIGHT, *words.split()], check=True)


def test_a_real_model_indexes_and_searches(tiny_cfg, tiny_data, tmp_path):
    torch.save({"model": build_model(tiny_cfg).state_dict()}, tmp_path / "model.pth")
    (tmp_path / "config.yaml").write_text(tiny_cfg.dump())
    options = {"create": True, "min_score": 0.0}
    with open_gallery(tmp_path / "g.db", tmp_path / "model.pth", **options) as gallery:
        indexer = Indexer(gallery.predictor, gallery.store)
        assert indexer.plan([tiny_data]) == 18
        indexer.run()
        assert indexer.report.detections == gallery.store.count() > 0
    with open_gallery(tmp_path / "g.db") as gallery:  # remembers the weights
        result = gallery.search_by_id(1, k=3, per="match")
        assert result.matches[0].detection.detection_id == 1
        assert result.matches[0].similarity == pytest.approx(1, abs=1e-5)


def test_detections_of_another_program_are_indexed(run, footage, tmp_path):
    words = ["index", "--weights", "weights.pth", "--store", "street.db"]
    lines = [f"{n},-1,{2 * n - 2},20,14,40,{s}" for n, s in ((1, 0.9), (6, 0.6), (8, 0.1))]
    (tmp_path / "det.txt").write_text("\n".join(lines))
    printed = run(*words, "--detections", "det.txt", footage / "door.avi").splitlines()
    assert printed[:2] == [
        "det.txt: 2 of 3 boxes used, in 2 images",
        "street.db: 2 detections in 2 images added, 0 files already indexed",
    ]
    with open_store("street.db") as store:
        assert sorted(d.frame for d in store.scan()) == [0, 5]
    results = [
        {"image_id": name, "category_id": 5, "bbox": [10, 20, 14, 40], "score": 0.8}
        for name in ("one", "away", "away")
    ]
    (tmp_path / "results.json").write_text(json.dumps(results))
    options = ["--detections", "results.json", "--detections-category", "5"]
    assert run(*words, *options, footage).splitlines()[:3] == [
        "results.json: 1 of 3 boxes used, in 1 image",
        "not among the files: 1 image with 2 boxes, such as 'away'",
        "2 files without boxes",
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--detections", "none.txt"], "none.txt: cannot be read: No such file"),
        (["--detections-images", "a.json"], "--detections-images tells how to read --detections"),
        (["--detections", "det.txt"], "det.txt: line 1: 1 field; expected frame, track"),
    ],
)
def test_wrong_detections_are_refused_before_a_gallery_is_made(
    tool, footage, tmp_path, monkeypatch, capsys, options, expected
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "det.txt").write_text("person")
    words = ["index", "--weights", "weights.pth", "--store", "street.db", *options]
    with pytest.raises(SystemExit) as stop:
        tool.main([*words, str(footage / "door.avi")])
    assert stop.value.code == 2 and expected in capsys.readouterr().err
    assert not (tmp_path / "street.db").exists()


@pytest.mark.parametrize("words", [[], ["my_videos"], ["--store", "a.db", "my_videos"]])
def test_index_without_weights_shows_the_way_to_them(tool, capsys, words):
    with pytest.raises(SystemExit) as stop:
        tool.main(["index", *words])
    printed = capsys.readouterr()
    assert stop.value.code == 2
    assert "https://" in printed.out and "CC BY-SA 3.0" in printed.out
    assert "clsa-convert-weights --detector model_final_280758.pkl" in printed.out
    assert "clsa-search index --weights weights/street.pth" in printed.out
    last = printed.err.splitlines()[-1]
    assert "the following arguments are required: " in last and "--weights" in last
