"""Queries for JSON files without queries: one for each person who is seen again."""

import json
import os

import pytest

from clsa_search.data import load_custom_json, make_queries
from clsa_search.errors import InputError

DOCUMENT = {
    "images": [
        {"id": i, "file_name": name, "width": 100, "height": 80, "cam_id": i % 2}
        for i, name in enumerate(["images\\a.jpg", "images/b.jpg", "/far/c.jpg"])
    ],
    "categories": [{"id": 3, "name": "car"}, {"id": 7, "name": "person"}],
    "annotations": [
        {"id": number, "image_id": image, "category_id": 7, "bbox": bbox} | fields
        for number, (image, bbox, fields) in enumerate(
            [
                (0, [0, 0, 10, 20], {"attributes": {"track_id": 9}}),
                (1, [5, 0, 20, 20], {"attributes": {"track_id": 9}, "visibility": 0.5}),
                (2, [7, 0, 20, 20], {"attributes": {"track_id": 9}}),  # as large, and later
                (0, [90, 0, 50, 20], {"attributes": {"track_id": 4}}),  # 10 pixels inside
                (1, [9, 30, 11, 20], {"attributes": {"track_id": 4}}),
                (1, [9, 9, 30, 30], {"attributes": {"track_id": 5}}),  # twice in one image
                (1, [19, 9, 30, 30], {"attributes": {"track_id": 5}}),
                (1, [9, 9, 3, 3], {}),
                (1, [0, 0, 90, 80], {"attributes": {"track_id": 1}, "category_id": 3}),
                (2, [0, 0, 90, 80], {"iscrowd": 1}),
            ],
            start=1,
        )
    ],
}
OPTIONS = {"id_field": "attributes.track_id", "category": "person"}


def write(path, document):
    path.write_text(json.dumps(document))
    return path


def test_each_person_who_is_seen_again_has_a_query(tmp_path):
    source = write(tmp_path / "cvat.json", DOCUMENT)
    output = tmp_path / "gallery.json"
    assert make_queries(source, output, **OPTIONS) == 2
    saved = json.loads(output.read_text())
    assert saved["queries"] == [
        {"id": 0, "image_id": 1, "bbox": [9, 30, 11, 20], "person_id": 4},
        {"id": 1, "image_id": 1, "bbox": [5, 0, 20, 20], "person_id": 9},
    ]
    # the copy needs no options, and holds what the file holds
    assert [(a["id"], a["person_id"]) for a in saved["annotations"][:-1]] == [
        *((1, 9), (2, 9), (3, 9), (4, 4), (5, 4), (6, 5), (7, 5), (8, -1))
    ]
    assert saved["annotations"][1]["visibility"] == 0.5 and saved["annotations"][-1]["iscrowd"] == 1
    records = load_custom_json(output)
    given = load_custom_json(source, **OPTIONS)
    assert load_custom_json(output, **OPTIONS) == records  # they do no harm
    assert [r["annotations"] for r in records] == [r["annotations"] for r in given]
    assert [r["file_name"] for r in records] == [r["file_name"] for r in given]
    assert [r["cam_id"] for r in records] == [0, 1, 0]


def test_images_are_found_from_another_folder(tmp_path):
    source = write(tmp_path / "cvat.json", DOCUMENT)
    (tmp_path / "other").mkdir()
    make_queries(source, tmp_path / "other" / "g.json", image_root=tmp_path / "pictures", **OPTIONS)
    names = [r["file_name"] for r in load_custom_json(tmp_path / "other" / "g.json")]
    assert names == [str(tmp_path / "pictures/images/a.jpg"), *names[1:2], "/far/c.jpg"]
    make_queries(source, tmp_path / "g.json", image_root=tmp_path / "pictures", **OPTIONS)
    saved = json.loads((tmp_path / "g.json").read_text())
    assert saved["images"][1]["file_name"] == "pictures/images/b.jpg"


def test_refusals(tmp_path):
    source = write(tmp_path / "cvat.json", DOCUMENT)
    os.symlink(source, tmp_path / "link.json")
    with pytest.raises(InputError, match="link.json: is the file to read; expected another"):
        make_queries(source, tmp_path / "link.json", **OPTIONS)
    make_queries(source, tmp_path / "gallery.json", **OPTIONS)
    with pytest.raises(InputError, match="gallery.json: has 2 queries; expected none"):
        make_queries(tmp_path / "gallery.json", tmp_path / "again.json")
    alone = DOCUMENT | {"annotations": DOCUMENT["annotations"][5:8]}
    with pytest.raises(InputError, match="no labeled person in two images; expected one"):
        make_queries(write(source, alone), tmp_path / "none.json", **OPTIONS)
    assert not (tmp_path / "none.json").exists() and not (tmp_path / "again.json").exists()
