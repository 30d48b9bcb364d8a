"""MovieNet-PS: cells instead of the structs of CUHK-SYSU, three pools, five training sets."""

import pytest

from clsa_search.data import default_protocols, get_records, list_protocols, load_gallery
from clsa_search.structures import UNLABELED
from tests.support.published_datasets import (
    boxes_by_image,
    gallery_names,
    list_queries,
    write_movienet_ps,
)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    return write_movienet_ps(tmp_path / "movienet_ps")


def test_a_training_set_has_the_images_named_in_its_file():
    seen = {"tt1/b.jpg": [(0, (3, 2, 33, 42))], "tt1/a.jpg": [(0, (1, 2, 31, 42))]}
    for n in (10, 30, 50, 70, 100):
        expected = dict(list(seen.items())[: n // 10])
        assert boxes_by_image(get_records(f"movienet_ps_app{n}_train")) == expected


def test_the_gallery_has_all_pools_and_the_query_images(root):
    records = get_records("movienet_ps_gallery")
    assert boxes_by_image(records) == {
        "tt2/c.jpg": [(0, (5, 2, 35, 42))],
        "tt2/d.jpg": [(0, (7, 2, 37, 42))],  # positive in the larger galleries only
        "tt3/e.jpg": [(UNLABELED, (9, 2, 39, 42))],
        "tt3/q.jpg": [(0, (11, 2, 41, 42))],
    }
    assert list_queries(records) == [("tt3/q.jpg", 0, (11, 2, 41, 42))]
    assert records[3]["file_name"] == str(root / "Image" / "tt3" / "q.jpg")


def test_galleries():
    records = get_records("movienet_ps_gallery")
    pool = ["tt2/c.jpg", "tt2/d.jpg", "tt3/e.jpg"]
    for i, size in enumerate((2000, 4000, 10000)):
        gallery = load_gallery("movienet_ps_gallery", f"g{size}")
        assert gallery_names(gallery, records) == {0: pool[: 1 + i]}
    assert default_protocols("movienet_ps_gallery") == ("g2000",)
    assert list_protocols("movienet_ps_gallery") == ("g2000", "g4000", "g10000", "all")
