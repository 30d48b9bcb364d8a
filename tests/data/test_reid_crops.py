"""Crops of scene images as a dataset: records, galleries and pixels."""

import numpy as np
import pytest
from PIL import Image

from clsa_search.data import get_records, load_gallery
from clsa_search.data.crop_cache import load_crops
from clsa_search.data.crop_mapper import CropMapper
from clsa_search.errors import InputError


@pytest.fixture
def scenes(tiny_data):
    return get_records(str(tiny_data / "gallery.json"))


@pytest.fixture
def crops(tiny_data):
    return get_records(f"crops:{tiny_data / 'gallery.json'}")


@pytest.fixture
def mapper():
    return CropMapper(is_train=False, crop_size=(32, 16), image_format="RGB", flip=0.0)


def test_every_box_and_query_is_one_crop(scenes, crops):
    boxes = [box for record in scenes for box in record["annotations"]]
    queries = [query for record in scenes for query in record.get("queries", [])]
    assert len(crops) == len(boxes) + len(queries)
    people = [crop["annotations"][0]["person_id"] for crop in crops if crop["annotations"]]
    assert people == [box["person_id"] for box in boxes]
    assert len({crop["image_id"] for crop in crops}) == len(crops)


def test_a_gallery_leaves_out_the_person_in_the_query_camera(tiny_data, crops):
    gallery = load_gallery(f"crops:{tiny_data / 'gallery.json'}", "reid")
    by_query = {q["query_id"]: (crop, q) for crop in crops for q in crop.get("queries", [])}
    for row, query_id in enumerate(gallery.query_ids.tolist()):
        crop, query = by_query[query_id]
        listed = set(gallery.images.row(row).tolist())
        for position, other in enumerate(crops):
            if not other["annotations"]:
                assert position not in listed
                continue
            is_same = other["annotations"][0]["person_id"] == query["person_id"]
            assert (position in listed) != (is_same and other["cam_id"] == crop["cam_id"])


def test_pixels_are_those_of_the_box(scenes, crops, mapper):
    crop = next(crop for crop in crops if crop["annotations"])
    image = Image.open(crop["file_name"]).convert("RGB")
    expected = image.resize((16, 32), Image.Resampling.BILINEAR, box=tuple(crop["crop"]))
    assert (mapper.read(crop) == np.asarray(expected)).all()
    example = mapper(crop)
    assert example["image"].shape == (3, 32, 16)
    assert (example["image"].numpy() == np.asarray(expected).transpose(2, 0, 1)).all()


def test_the_cache_holds_the_same_pixels_and_is_read_again(crops, mapper, monkeypatch):
    first = load_crops(crops, mapper)
    assert (first == np.stack([mapper.read(crop) for crop in crops])).all()
    reads = []
    monkeypatch.setattr("clsa_search.data.crop_cache.read_image", reads.append)
    assert (load_crops(crops, mapper) == first).all() and not reads


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-7],
        lambda content: content.replace(b"'shape': (", b"'shape': (0"),
        lambda content: content.replace(b"}", b"("),
        lambda content: content.replace(b"|u1", b"|O8"),
    ],
    ids=["cut", "number", "bracket", "objects"],
)
def test_a_damaged_cache_is_cut_again(crops, mapper, tiny_data, damage):
    first = np.array(load_crops(crops, mapper))
    for path in tiny_data.glob(".clsa_search_cache/crops_*.npy"):
        path.write_bytes(damage(path.read_bytes()))
    assert (load_crops(crops, mapper) == first).all()


def test_an_unreadable_image_is_named(tmp_path, mapper):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"a\.jpg: not readable"):
        load_crops([{"file_name": str(tmp_path / "a.jpg"), "annotations": []}], mapper)
