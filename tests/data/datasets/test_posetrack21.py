"""PoseTrack21 person search: a miniature in the published layout."""

import json

import pytest

from clsa_search.data import default_protocols, get_records, list_protocols
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED
from tests.support.published_datasets import (
    boxes_by_image,
    list_queries,
    write_posetrack21,
)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    return write_posetrack21(tmp_path / "posetrack21")


def change(path, edit):
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def test_training_frames(root):
    records = get_records("posetrack21_train")
    assert boxes_by_image(records) == {"1": [(0, (1, 1, 10, 10))], "2": [(1, (0, 3, 5.5, 48))]}
    assert (records[0]["width"], records[0]["height"], records[0]["cam_id"]) == (64, 48, 4)
    assert records[0]["file_name"] == str(root / "images/train/000004_x_train/000001.jpg")


def test_gallery_frames_and_queries():
    records = get_records("posetrack21_gallery")
    assert boxes_by_image(records) == {
        "11": [(1, (4, 4, 14, 34))],
        "12": [(1, (6, 4, 16, 34)), (UNLABELED, (30, 4, 40, 34))],
        "13": [(0, (8, 4, 18, 34))],  # boxes outside or without height are dropped
    }
    assert list_queries(records) == [("13", 0, (8, 4, 18, 34)), ("11", 1, (4, 4, 14, 34))]
    assert [record["cam_id"] for record in records] == [7, 7, 8]
    assert default_protocols("posetrack21_gallery") == ("all",)
    assert list_protocols("posetrack21_gallery") == ("all", "cross_camera")


def test_a_query_image_missing_from_the_gallery_comes_last(root):
    def remove_from_the_gallery(document):
        document["images"] = [image for image in document["images"] if image["id"] != 13]
        document["annotations"] = [a for a in document["annotations"] if a["image_id"] != 13]

    change(root / "posetrack_person_search" / "val.json", remove_from_the_gallery)
    records = get_records("posetrack21_gallery")
    assert boxes_by_image(records)["13"] == [] and records[-1]["image_id"] == "13"
    assert list_queries(records)[0] == ("13", 0, (8, 4, 18, 34))


@pytest.mark.parametrize(
    ("name", "entry", "field", "value", "expected"),
    [
        ("val", "annotations", "image_id", 99, "'image_id' is 99"),
        ("val", "annotations", "bbox", [1, 2, 3], r"'bbox' is \[1, 2, 3\]"),
        ("val", "annotations", "person_id", "x", "'person_id' is \"x\""),
        ("val", "images", "vid_id", "first", "'vid_id' is \"first\""),
        ("val", "images", "vid_id", "9" * 30, "'vid_id' is \"999"),
        ("val", "images", "vid_id", 2**63, "'vid_id' is 9223372036854775808"),
        ("val", "annotations", "person_id", -(2**63), "'person_id' is -9223372036854775808"),
        ("val", "images", "file_name", "", "'file_name' is \"\""),
    ],
)
def test_faults_are_named(root, name, entry, field, value, expected):
    def edit(document):
        document[entry][1][field] = value

    change(root / "posetrack_person_search" / f"{name}.json", edit)
    with pytest.raises(InputError, match=rf"{name}.json: {entry}\[1\]: .*{expected}"):
        get_records("posetrack21_gallery")


def test_a_query_outside_its_image_is_named(root):
    def edit(document):
        document["annotations"][1]["bbox"] = [90, 1, 5, 5]

    change(root / "posetrack_person_search" / "query.json", edit)
    with pytest.raises(InputError, match="query.json: query 1: .*90.*a box that meets its image"):
        get_records("posetrack21_gallery")


@pytest.mark.parametrize("missing", ["val.json", "query.json"])
def test_missing_files_are_named(root, missing):
    (root / "posetrack_person_search" / missing).unlink()
    with pytest.raises(InputError, match=f"{missing}: no such file.*datasets/README.md"):
        get_records("posetrack21_gallery")
