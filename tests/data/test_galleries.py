"""Galleries: protocols and defaults of a dataset, and galleries in a JSON file."""

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from clsa_search.data import (
    build_gallery,
    default_protocols,
    list_protocols,
    load_gallery,
    save_custom_json,
)
from clsa_search.errors import InputError


def write(path, cameras=(0, 0, 1), galleries=None):
    """Write three images, the queries 8 and 9 in the first image, and galleries by these ids."""
    save_custom_json(
        path,
        images=[
            {"id": f"i{i}", "file_name": f"{i}.jpg", "width": 20, "height": 20}
            | ({} if camera is None else {"cam_id": camera})
            for i, camera in enumerate(cameras)
        ],
        annotations=[{"image_id": "i0", "bbox": [0, 0, 5, 5], "person_id": 3}],
        queries=[{"id": i, "image_id": "i0", "bbox": [0, 0, 5, 5], "person_id": 3} for i in (8, 9)],
        galleries=galleries,
    )
    return str(path)


def unpack(gallery):
    """Return the image positions of each query id."""
    rows = [gallery.images.row(query).tolist() for query in range(len(gallery.images))]
    return dict(zip(gallery.query_ids.tolist(), rows, strict=True))


def test_a_gallery_keeps_repetitions_and_sorts_its_queries():
    gallery = build_gallery({7: [2, 0, 2], 3: []})
    assert gallery.query_ids.tolist() == [3, 7] and gallery.images.offsets.tolist() == [0, 0, 3]
    assert unpack(gallery) == {3: [], 7: [2, 0, 2]}
    arrays = gallery.query_ids, gallery.images.offsets, gallery.images.values
    assert [array.dtype for array in arrays] == ["int64", "int64", "int32"]
    assert unpack(build_gallery({})) == {}


def test_galleries_of_the_json_are_read_by_position(tmp_path):
    galleries = {"fixed": {"9": ["i2", "i1", "i2"], "8": ["i1"]}, "part": {"9": []}}
    path = write(tmp_path / "a.json", galleries=galleries)
    assert unpack(load_gallery(path, "fixed")) == {0: [1], 1: [2, 1, 2]}
    assert unpack(load_gallery(path, "part")) == {1: []}
    assert list_protocols(path) == ("fixed", "part", "all", "cross_camera")
    assert default_protocols(path) == ("fixed", "part")
    with pytest.raises(InputError, match="no gallery 'fixd'; expected one of fixed, part, "):
        load_gallery(path, "fixd")


def test_without_galleries_all_images_are_searched(tmp_path):
    path = write(tmp_path / "a.json", cameras=(0, None, 1))
    assert list_protocols(path) == default_protocols(path) == ("all",)
    with pytest.raises(InputError, match="no gallery 'g100'"):
        load_gallery(path, "g100")


def test_a_gallery_of_the_json_cannot_have_a_reserved_name(tmp_path):
    with pytest.raises(InputError, match="galleries\\['all'\\].*expected another name"):
        write(tmp_path / "a.json", galleries={"all": {"8": ["i1"]}})


def test_other_datasets_have_galleries_in_their_metadata():
    name = "galleries_of_another"
    DatasetCatalog.register(name, lambda: [])
    MetadataCatalog.get(name).set(
        galleries={"one": lambda: build_gallery({0: [5]}), "two": lambda: 1 / 0},
        default_protocols=("one",),
    )
    try:
        assert unpack(load_gallery(name, "one")) == {0: [5]}
        assert list_protocols(name) == ("one", "two", "all") and default_protocols(name) == ("one",)
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
