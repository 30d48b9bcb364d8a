"""The check of a dataset: counts, notes, faults, and the exit status."""

import dataclasses
import json
import runpy
import sys

import numpy as np
import pytest
from PIL import Image

from clsa_search.data import builtin, get_records
from clsa_search.data.builtin import Counts, GallerySize
from clsa_search.data.validation import check_dataset
from clsa_search.visualize.dataset_samples import draw_samples
from tests.support.published_datasets import (
    CUHK_SEARCHES,
    WRITERS,
    search_rows,
    write_cuhk_sysu,
    write_mat,
)
from tests.support.tiny import ROOT, make_split


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A miniature CUHK-SYSU with the expected counts."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    expect(monkeypatch, "cuhk_sysu_train", Counts(3, 4, 4, 2, 0), {})
    sizes = {f"g{g}": GallerySize(4, 3) for g in (50, 100, 500, 1000, 2000, 4000)}
    sizes |= {"occlusion": GallerySize(2, 3), "low_resolution": GallerySize(2, 3)}
    expect(monkeypatch, "cuhk_sysu_gallery", Counts(7, 10, 7, 4, 4), sizes)
    return write_cuhk_sysu(tmp_path / "cuhk_sysu")


def expect(monkeypatch, name, counts, gallery_sizes):
    changed = dataclasses.replace(
        builtin.PUBLISHED_SPLITS[name], counts=counts, gallery_sizes=gallery_sizes
    )
    monkeypatch.setitem(builtin.PUBLISHED_SPLITS, name, changed)


def run(monkeypatch, *arguments):
    """Return the exit status of the command."""
    monkeypatch.setattr(sys, "argv", ["check_dataset.py", *map(str, arguments)])
    try:
        runpy.run_path(str(ROOT / "tools" / "check_dataset.py"), run_name="__main__")
    except SystemExit as end:
        return end.code
    return 0


def test_a_whole_dataset_has_no_faults(root, monkeypatch, capsys):
    for name in ("cuhk_sysu_train", "cuhk_sysu_gallery"):
        assert run(monkeypatch, name) == 0
        assert "0 faults" in capsys.readouterr().out


def test_peculiarities_are_noted(root):
    report = check_dataset("cuhk_sysu_gallery")
    assert report.faults == []
    assert [note for note in report.notes if ":" not in note or note[0] != "g"] == [
        "1 image with two boxes of one identity: s12.jpg",
        "1 identity with one box only",
        "queries 1, 2: the person is in no other image",
        "occlusion: queries 1, 2: own image in the gallery",
        "occlusion: query 2: an image listed twice",
        "low_resolution: queries 1, 2: own image in the gallery",
        "low_resolution: query 2: an image listed twice",
    ]
    assert "g4000: query 2: an image listed twice" in report.notes
    assert check_dataset("cuhk_sysu_train").notes == ["1 image without boxes: s3.jpg"]


def test_wrong_counts_are_faults(root, monkeypatch, capsys):
    expect(monkeypatch, "cuhk_sysu_gallery", Counts(8, 10, 7, 5, 4), {"g50": GallerySize(5, 2)})
    assert run(monkeypatch, "cuhk_sysu_gallery") == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("fault:")] == [
        "fault: images: 7; expected 8",
        "fault: identities: 4; expected 5",
        "fault: g50: 4 queries; expected 5",
        "fault: g50: queries 0, 1, 2, 3: gallery of another size; expected 2 images",
    ]
    assert ["images", "7", "8"] in [line.split() for line in lines]
    assert lines[-1] == "4 faults"


def test_a_gallery_without_the_person_or_without_its_file_is_a_fault(root):
    (root / "annotation/test/train_test/TestG500.mat").unlink()
    person, query, found, _ = CUHK_SEARCHES[0]
    lost = search_rows([(person, query, [], ["s15.jpg"] * 3), *CUHK_SEARCHES[1:]])
    write_mat(root / "annotation/test/train_test/TestG100.mat", "TestG100", lost)
    faults = check_dataset("cuhk_sysu_gallery").faults
    assert faults[0] == "g100: query 0: the person is in no image"
    assert faults[1].startswith("g500: ") and "TestG500.mat: no such file" in faults[1]
    assert len(faults) == 2


def test_images_are_compared_with_a_custom_json_file(tmp_path, monkeypatch, capsys):
    path = make_split(tmp_path, "own", images=5, queries=True)
    assert run(monkeypatch, path) == 0
    Image.new("RGB", (50, 40)).save(tmp_path / "own_1.png")
    (tmp_path / "own_2.png").unlink()
    (tmp_path / "own_3.png").write_bytes(b"not an image")
    faults = check_dataset(str(path)).faults
    assert [fault.split(": ", 1)[0] for fault in faults] == [
        str(tmp_path / f"own_{i}.png") for i in (1, 2, 3)
    ]
    assert "50 x 40 pixels as viewed; expected 96 x 72" in faults[0]
    assert "no such file" in faults[1] and "not readable as an image" in faults[2]
    assert run(monkeypatch, path) == 1


def test_a_cut_image_is_a_fault_unless_only_headers_are_read(tmp_path, monkeypatch, capsys):
    path = make_split(tmp_path, "own", images=5, queries=True)
    for number in (1, 3):
        image = tmp_path / f"own_{number}.png"  # JPEG content under this name
        Image.open(image).save(image, "JPEG")
        content = image.read_bytes()
        image.write_bytes(content[: len(content) // 2])
    assert run(monkeypatch, path, "--fast") == 0
    assert "0 faults" in capsys.readouterr().out
    folder = tmp_path / "samples"
    assert run(monkeypatch, path, "--draw", 5, "--output-dir", folder) == 1
    printed = capsys.readouterr()
    faults = [line for line in printed.out.splitlines() if line.startswith("fault: ")]
    assert len(faults) == 2
    for number, fault in zip((1, 3), faults, strict=True):
        assert fault.startswith(f"fault: {tmp_path}/own_{number}.png: not readable as an image: ")
        assert "truncated" in fault
    assert "5/5" in printed.err  # the progress bar
    # the fourth image has no boxes
    assert sorted(file.name for file in folder.iterdir()) == [f"{i:06d}.jpg" for i in (0, 2, 4)]


def test_a_dataset_without_identities_or_with_a_file_twice_is_named(tmp_path):
    path = make_split(tmp_path, "own", images=5, queries=False)
    document = json.loads(path.read_text())
    for annotation in document["annotations"]:
        del annotation["person_id"]
    for image in document["images"][1:4]:
        image["file_name"] = "own_1.png"
    path.write_text(json.dumps(document))
    report = check_dataset(str(path))
    assert report.faults == [f"1 file of more than one image: {tmp_path / 'own_1.png'}"]
    assert "no box has an identity: the re-ID has nothing to train on or to find" in report.notes


def test_an_unreadable_dataset_ends_with_one_line(root, monkeypatch, capsys):
    (root / "annotation" / "pool.mat").unlink()
    assert run(monkeypatch, "cuhk_sysu_train") == 2
    assert "error: " in capsys.readouterr().err


def test_faults_of_the_samples_end_with_one_line(root, tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, "cuhk_sysu_train", "--draw", "-3") == 2
    assert "argument --draw: '-3'; expected a whole number from 0" in capsys.readouterr().err
    (tmp_path / "file").write_text("in the way")
    assert run(monkeypatch, "cuhk_sysu_train", "--draw", 1, "--output-dir", tmp_path / "file") == 2
    assert "file: is not a folder; expected a folder" in capsys.readouterr().err.splitlines()[-1]


def test_samples_show_boxes_and_identities(root, tmp_path, monkeypatch):
    assert run(monkeypatch, "cuhk_sysu_gallery", "--draw", 3, "--output-dir", tmp_path / "a") == 0
    # all seven images of the pool have boxes: first, middle, last
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [f"{i:06d}.jpg" for i in (0, 3, 6)]
    plain = np.asarray(Image.open(root / "Image/SSM/s12.jpg")).astype(int)
    drawn = np.asarray(Image.open(tmp_path / "a" / "000000.jpg")).astype(int)
    changed = np.abs(drawn - plain).max(axis=2) > 30
    assert changed[25:75, 13:16].any(1).all() and changed[25:75, 179:182].any(1).all()  # two boxes
    assert not changed[100:].any()
    records = get_records("cuhk_sysu_train")
    assert len(draw_samples(records, 9, tmp_path / "b")) == 2  # without the image without boxes


@pytest.mark.parametrize("name", ["movienet_ps", "prw", "posetrack21"])
def test_every_published_dataset_can_be_checked(name, tmp_path, monkeypatch):
    """The miniatures differ from the originals only in their counts."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    WRITERS[name](tmp_path / name)
    splits = [split for split, b in builtin.PUBLISHED_SPLITS.items() if b.folder == name]
    assert len(splits) >= 2
    for split in splits:
        expect(monkeypatch, split, Counts(), {})
        assert check_dataset(split).faults == []
