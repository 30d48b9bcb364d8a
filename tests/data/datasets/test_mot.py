"""MOTChallenge folders: boxes, splits, and the message for each fault."""

import json
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
from PIL import Image

from clsa_search.data import count_identities, load_custom_json
from clsa_search.data.datasets.mot import import_mot, name_file
from clsa_search.data.datasets.mot_files import find_sequences, read_ground_truth
from clsa_search.data.datasets.mot_frames import find_frames
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED
from tests.support.mot_folders import person_ids, walk, write_four_sequences, write_sequence


@pytest.fixture
def source(tmp_path):
    return write_four_sequences(tmp_path / "mot")


def test_rows_become_records(tmp_path):
    rows = [
        "1,7,1,1,40,30,1,1,1.0",  # the whole frame, counted from 1
        "1,8,-9,21,20,30,1,1,0.3",  # leaves it at the left and at the bottom
        "1,9,41,1,5,5,1,1,1",  # wholly outside
        "2,7,3,3,10,20,1,1,0.29",  # not visible enough
        "2,8,3,3,10,20,0,1,1",  # not valid
        "2,9,3,3,10,20,1,7,1",  # a static person
        "",
    ]
    write_sequence(tmp_path / "mot", "street", rows)
    counts = import_mot(tmp_path / "mot", tmp_path / "out", split="none", min_visibility=0.2)
    assert counts["train"] == {
        "images": 3,
        "boxes": 3,
        "labeled": 3,
        "identities": 2,
        "queries": 0,
    }
    first, second, third = load_custom_json(tmp_path / "out" / "train.json")
    assert [a["bbox"] for a in first["annotations"]] == [[0, 0, 40, 30], [0, 20, 10, 30]]
    assert second["annotations"][0]["bbox"] == [2, 2, 12, 22]
    assert third["annotations"] == []
    assert (first["width"], first["height"], first["cam_id"]) == (40, 30, 1)
    assert Path(first["file_name"]) == tmp_path / "mot" / "street" / "img1" / "000001.jpg"
    stored = json.loads((tmp_path / "out" / "train.json").read_text())
    assert stored["images"][1]["sequence"] == "street" and stored["images"][1]["frame"] == 2
    with pytest.raises(InputError, match="no labeled person in two frames for a query"):
        import_mot(tmp_path / "mot", tmp_path / "out", split="none")  # nobody is in two frames


def test_the_query_is_the_most_visible_box(tmp_path):
    rows = [
        *walk(1, 0.5, 0.9, 0.9),  # equally visible: the earlier
        *walk(2, 1, 0.1),  # labeled in one frame only: no query
        "1,3,5,5,4,8,1,1,0.8",
        "2,3,5,5,4,9,1,1,0.8",  # the larger
    ]
    write_sequence(tmp_path / "mot", "street", rows)
    import_mot(tmp_path / "mot", tmp_path / "out", split="none")
    records = load_custom_json(tmp_path / "out" / "gallery.json")
    assert person_ids(records) == [[0, 1, 2], [0, UNLABELED, 2], [0]]
    assert "queries" not in records[0]
    assert records[1]["queries"] == [
        {"query_id": 0, "bbox": [11.0, 5.0, 16.0, 15.0], "person_id": 0},
        {"query_id": 1, "bbox": [4.0, 4.0, 8.0, 13.0], "person_id": 2},
    ]
    train = load_custom_json(tmp_path / "out" / "train.json")
    assert person_ids(train) == person_ids(records) and not any("queries" in r for r in train)


def test_sequences_are_held_out(source, tmp_path):
    counts = import_mot(source, tmp_path, test_sequences=["d", "b"])
    train, gallery = (load_custom_json(tmp_path / f"{n}.json") for n in ("train", "gallery"))
    assert {r["cam_id"] for r in train} == {1, 3} and {r["cam_id"] for r in gallery} == {2, 4}
    # the same track number in two sequences is two people
    assert count_identities(train) == counts["train"]["identities"] == 4
    assert counts["gallery"]["identities"] == 4 and counts["gallery"]["queries"] == 2


def test_the_seed_chooses_the_sequences(source, tmp_path):
    chosen = set()
    for seed in range(8):
        import_mot(source, tmp_path, test_fraction=0.3, seed=seed)
        first = (tmp_path / "gallery.json").read_text()
        import_mot(source, tmp_path, test_fraction=0.3, seed=seed)
        assert (tmp_path / "gallery.json").read_text() == first
        cameras = {r["cam_id"] for r in load_custom_json(tmp_path / "gallery.json")}
        assert len(cameras) == 1 and not cameras & {
            r["cam_id"] for r in load_custom_json(tmp_path / "train.json")
        }
        chosen |= cameras
    assert len(chosen) > 1


def test_identities_are_held_out_on_shared_frames(source, tmp_path):
    counts = import_mot(source, tmp_path, split="identity", test_fraction=0.5)
    train, gallery = (
        json.loads((tmp_path / f"{n}.json").read_text()) for n in ("train", "gallery")
    )
    assert train["images"] == gallery["images"] and len(train["images"]) == 12
    assert counts["train"]["boxes"] == counts["gallery"]["boxes"] == 20
    known, tested = (
        {a["person_id"] for a in part["annotations"]} - {UNLABELED} for part in (train, gallery)
    )
    # two of the four labeled in two frames; the four labeled in one frame are for training
    assert len(tested) == 2 and len(known) == 6 and not known & tested
    assert {q["person_id"] for q in gallery["queries"]} == tested


def test_frames_are_named_or_copied(source, tmp_path):
    import_mot(source, tmp_path / "mot", split="none")  # the frames lie below the output
    stored = json.loads((tmp_path / "mot" / "train.json").read_text())
    assert stored["images"][0]["file_name"] == "train/a/img1/000001.jpg"
    import_mot(source, tmp_path / "out", split="none", copy=True)
    (tmp_path / "out").rename(tmp_path / "moved")
    stored = json.loads((tmp_path / "moved" / "train.json").read_text())
    assert stored["images"][4]["file_name"] == "images/b/000002.jpg"
    for record in load_custom_json(tmp_path / "moved" / "gallery.json"):
        assert np.asarray(Image.open(record["file_name"])).shape == (30, 40, 3)


def test_files_are_named_with_slashes_on_every_system():
    frame, output = PureWindowsPath(r"C:\out\a\1.jpg"), PureWindowsPath(r"C:\out")
    assert name_file(frame, output) == "a/1.jpg"
    assert name_file(frame, output / "b") == "C:/out/a/1.jpg"


def test_frames_are_read_as_viewed(tmp_path):
    folder = write_sequence(tmp_path / "mot", "street", walk(1, 1, 1, x=30), size=(30, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in (folder / "img1").iterdir():
        Image.open(path).save(path, exif=exif)
    import_mot(tmp_path / "mot", tmp_path / "out", split="none")
    first = load_custom_json(tmp_path / "out" / "train.json")[0]
    assert (first["width"], first["height"]) == (40, 30)
    assert first["annotations"][0]["bbox"] == [
        29,
        5,
        34,
        15,
    ]  # beyond the width of 30 in the header


def test_a_step_thins_the_frames(source, tmp_path):
    import_mot(source, tmp_path, split="none", frame_step=2)
    images = json.loads((tmp_path / "train.json").read_text())["images"]
    assert [image["frame"] for image in images] == [1, 3] * 4


def test_a_sequence_in_several_versions_is_taken_once(tmp_path):
    for name in ("MOT17-02-DPM", "MOT17-02-FRCNN", "MOT17-04-FRCNN"):
        write_sequence(tmp_path, name, walk(1, 1, 1))
    assert [sequence.name for sequence in find_sequences(tmp_path)] == [
        "MOT17-02-DPM",
        "MOT17-04-FRCNN",
    ]


def test_seqinfo_names_the_frames_folder(tmp_path):
    folder = write_sequence(tmp_path, "a", walk(1, 1, 1))
    (folder / "img1").rename(folder / "frames")
    (folder / "seqinfo.ini").write_text("[Sequence]\nimDir=frames\nimExt=.jpg\n")
    (sequence,) = find_sequences(tmp_path)
    assert list(sequence.frames) == [1, 2, 3] and len(read_ground_truth(sequence)) == 2
    (folder / "seqinfo.ini").write_text("imDir=frames\n")
    with pytest.raises(InputError, match="seqinfo.ini: not a readable INI file"):
        find_sequences(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2,1,3,3,5,5,1,1", "line 2: 8 fields; expected 9: frame, track,"),
        ("2,1,3,3,wide,5,1,1,1", "line 2: width is 'wide'; expected a number"),
        ("2,1,3,nan,5,5,1,1,1", "line 2: y is 'nan'; expected a number"),
        ("2.5,1,3,3,5,5,1,1,1", "line 2: frame is 2.5; expected an integer from 1"),
        ("2,-1,3,3,5,5,1,1,1", "line 2: track is -1; expected an integer from 0"),
        ("2,1,3,3,0,5,1,1,1", "line 2: width is 0; expected above 0"),
        ("2,1,3,3,5,-5,1,1,1", "line 2: height is -5; expected above 0"),
        ("2,1,3,3,5,5,1,1,1.5", "line 2: visibility is 1.5; expected from 0 to 1"),
        ("4,1,3,3,5,5,1,1,1", "line 2: frame is 4; expected one that is in .*img1"),
        ("1,1,3,3,5,5,1,1,1", "line 2: track is 1; expected once in frame 1, but line 1 has it"),
    ],
)
def test_each_fault_of_a_ground_truth_is_named(tmp_path, row, message):
    folder = write_sequence(tmp_path / "mot", "a", ["1,1,3,3,5,5,1,1,1", row])
    with pytest.raises(InputError, match=message) as caught:
        import_mot(tmp_path / "mot", tmp_path / "out", split="none")
    assert str(caught.value).startswith(str(folder / "gt" / "gt.txt"))


def test_faults_of_folders_and_images(source, tmp_path):
    with pytest.raises(InputError, match="nowhere: no sequences; expected folders with gt/gt.txt"):
        import_mot(tmp_path / "nowhere", tmp_path)
    frame = source / "train" / "b" / "img1" / "000002.jpg"
    frame.write_bytes(b"not an image")
    with pytest.raises(InputError, match="b/img1/000002.jpg: not readable as an image"):
        import_mot(source, tmp_path)
    for path in frame.parent.iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"b/img1: no frames; expected \*.jpg"):
        import_mot(source, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "time"}, "split is 'time'; expected one of sequence, identity, none"),
        ({"split": "none", "test_sequences": ["a"]}, "test_sequences .* expected 'sequence'"),
        (
            {"test_sequences": ["a", "e"]},
            "test sequence 'e' is not there; expected some of a, b, c, d",
        ),
        (
            {"test_sequences": list("abcd")},
            "no sequence is left to train on: a, b, c, d are for test",
        ),
        ({"test_fraction": 1.0}, "test_fraction is 1.0; expected between 0 and 1"),
        ({"min_visibility": -1}, "min_visibility is -1; expected from 0 to 1"),
        ({"frame_rate": 0}, "frame_rate is 0; expected frames per second, above 0"),
        ({"frame_step": 0}, "frame_step is 0; expected 1 or more"),
        ({"seed": -1}, "seed is -1; expected 0 or more"),
    ],
)
def test_wrong_arguments(source, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        import_mot(source, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("names", ["{}.JPG", "{}.jpeg", "image{}.bmp", "x9_{}.webp"])
def test_frames_of_any_image_format_are_found(tmp_path, names):
    (tmp_path / "img1").mkdir()
    for number in (1, 2, 10):
        (tmp_path / "img1" / names.format(number)).touch()
    for other in ("labels.xml", ".hidden.png", "Thumbs.db"):
        (tmp_path / "img1" / other).touch()
    frames = find_frames(tmp_path / "img1")
    assert [path.name for path in frames.values()] == [names.format(n) for n in (1, 2, 10)]
    assert list(frames) == ([1, 2, 10] if names[0] == "{" else [1, 2, 3])
    (tmp_path / "img1" / "10.png").touch()
    (tmp_path / "img1" / "010.png").touch()
    with pytest.raises(InputError, match="10.* has this number too"):
        find_frames(tmp_path / "img1")


def test_seqinfo_in_capitals_and_with_a_frame_rate(source, tmp_path):
    folder = source / "train" / "a"
    for path in (folder / "img1").iterdir():
        path.rename(path.with_suffix(".JPG"))
    info = "\ufeff[Sequence]\nimDir=img1\nframeRate=10\nimExt=.jpg\n"
    (folder / "seqinfo.ini").write_text(info)
    import_mot(source, tmp_path / "out", split="none")
    saved = json.loads((tmp_path / "out" / "train.json").read_text())
    assert [image.get("time") for image in saved["images"][:4]] == [0, 0.1, 0.2, None]
    (folder / "seqinfo.ini").write_text(info.replace("10", "fast"))
    with pytest.raises(InputError, match="seqinfo.ini: frameRate is 'fast'; expected frames per"):
        import_mot(source, tmp_path / "out")


def test_a_single_sequence_cannot_be_held_out(tmp_path):
    write_sequence(tmp_path / "mot", "street", walk(1, 1, 1))
    with pytest.raises(InputError, match="street is the only sequence; expected more"):
        import_mot(tmp_path / "mot", tmp_path / "out")
