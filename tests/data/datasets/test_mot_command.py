"""Command that imports MOTChallenge folders, and exports of CVAT."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

from clsa_search.data import load_custom_json
from clsa_search.data.datasets.mot import import_mot
from clsa_search.errors import InputError
from tests.support.mot_folders import walk, write_four_sequences, write_sequence

ROOT = Path(__file__).parents[3]


@pytest.fixture
def source(tmp_path):
    return write_four_sequences(tmp_path / "mot")


def write_cvat(root, labels="car\nPerson\nbike\n", names="frame_{:06d}.PNG"):
    """Write a sequence as CVAT exports it: three frames, a car and a person who walks."""
    rows = ["1,1,1,1,20,10,1,1,1", *walk(2, 1, 1, 1), "2,1,3,1,20,10,1,1,1"]
    folder = write_sequence(root, "task", [row for row in rows if row.split(",")[1] == "1"])
    text = (folder / "gt" / "gt.txt").read_text()
    text += "".join(row.replace(",1,1,1", ",1,2,1", 1) + "\n" for row in walk(2, 1, 1, 1))
    (folder / "gt" / "gt.txt").write_text(text)
    (folder / "gt" / "labels.txt").write_text(labels)
    for number, path in enumerate(sorted((folder / "img1").iterdir())):
        Image.open(path).save(folder / "img1" / names.format(number), format="PNG")
        path.unlink()
    return folder


def test_an_export_of_cvat_is_imported(tmp_path):
    """Only persons, frames in the order of their names, without seqinfo.ini, source as sequence."""
    folder = write_cvat(tmp_path)
    for source in (folder, tmp_path):
        counts = import_mot(source, tmp_path / "out", split="none", frame_rate=25)
        expected = {"images": 3, "boxes": 3, "labeled": 3, "identities": 1, "queries": 1}
        assert counts["gallery"] == expected
    saved = json.loads((tmp_path / "out" / "gallery.json").read_text())
    assert [Path(image["file_name"]).name for image in saved["images"]] == [
        f"frame_00000{number}.PNG" for number in range(3)
    ]
    assert [(image["frame"], image["time"]) for image in saved["images"]] == [
        *((1, 0), (2, 1 / 25), (3, 2 / 25))
    ]
    assert saved["annotations"][0]["bbox"] == [10, 5, 5, 10]
    counts = import_mot(folder, tmp_path / "out", split="none", label="car")
    assert counts["gallery"]["boxes"] == 2
    assert "time" not in json.loads((tmp_path / "out" / "gallery.json").read_text())["images"][0]


@pytest.mark.parametrize(
    ("labels", "label", "message"),
    [
        ("car\nbike\n", None, "labels.txt: 0 labels for person or .*--label with one of car, bike"),
        ("", None, "labels.txt: 0 labels for person or .*--label with one of none"),
        ("person\npedestrian\n", None, "labels.txt: 2 labels for person or pedestrian"),
        ("car\nperson\n", "man", "labels.txt: 0 labels for man; expected --label with one of car"),
    ],
)
def test_the_class_of_persons_has_to_be_clear(tmp_path, labels, label, message):
    folder = write_cvat(tmp_path, labels)
    with pytest.raises(InputError, match=message):
        import_mot(folder, tmp_path / "out", split="none", label=label)
    (folder / "gt" / "labels.txt").unlink()
    with pytest.raises(InputError, match="labels.txt: no such file; expected it with the label"):
        import_mot(folder, tmp_path / "out", split="none", label="man")


@pytest.fixture
def run_tool(monkeypatch, capsys):
    """A function that runs the command in this process and returns its output."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["import_mot.py", *map(str, arguments)])
        runpy.run_path(str(ROOT / "tools" / "import_mot.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_the_command(source, tmp_path, run_tool, capsys):
    printed = run_tool(source, tmp_path / "out", "--test-sequences", "b", "c")
    rows = [line.split() for line in printed.splitlines()]
    assert rows[0] == ["file", "images", "boxes", "labeled", "identities", "queries"]
    assert rows[2][1:] == ["6", "10", "8", "4", "0"] and rows[3][1:] == ["6", "10", "8", "4", "2"]
    assert {r["cam_id"] for r in load_custom_json(rows[3][0])} == {2, 3}
    with pytest.raises(SystemExit) as end:
        run_tool(source, tmp_path / "out", "--test-sequences", "z")
    assert end.value.code == 2 and "error: test sequence 'z' is not" in capsys.readouterr().err
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SystemExit) as end:
        run_tool(source, tmp_path / "file")
    assert (
        end.value.code == 2
        and "file: is not a folder; expected a folder" in capsys.readouterr().err
    )


def test_the_documented_commands_run(source, tmp_path, run_tool, monkeypatch):
    """Run the command of datasets/README.md with each option of its table."""
    text = (ROOT / "datasets" / "README.md").read_text(encoding="utf-8")
    text = text[text.index("## Tracked video") :]
    monkeypatch.chdir(tmp_path)
    source.rename(tmp_path / "MOT17")
    (command,) = re.findall(r"python tools/import_mot.py (.*)", text)
    options = [option.split() for option in re.findall(r"^\| `(--.*?)` \|", text, re.MULTILINE)]
    assert len(options) == 9
    for name in "abcd":
        (tmp_path / "MOT17" / "train" / name / "gt" / "labels.txt").write_text("person\n")
    for option in options:
        assert "datasets/mot17/gallery.json" in run_tool(*command.split(), *option)
