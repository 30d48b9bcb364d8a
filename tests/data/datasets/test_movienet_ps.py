"""MovieNet-PS: CUHK-SYSU's files with cells for structs, three pools, training sets by size."""

import pytest

from clsa_search.data import default_protocols, get_records, list_protocols, load_gallery
from clsa_search.structures import UNLABELED
from tests.support.published_datasets import listings, people, queries, write_movienet_ps


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    return write_movienet_ps(tmp_path / "movienet_ps")


def test_a_training_set_is_the_images_that_its_file_names():
    seen = {"tt1/b.jpg": [(0, (3, 2, 33, 42))], "tt1/a.jpg": [(0, (1, 2, 31, 42))]}
    for n in (10, 30, 50, 70, 100):
        expected = dict(list(seen.items())[: n // 10])
        assert people(get_records(f"movienet_ps_app{n}_train")) == expected


def test_the_gallery_is_all_pools_and_the_images_of_the_queries(root):
    records = get_records("movienet_ps_gallery")
    assert people(records) == {
        "tt2/c.jpg": [(0, (5, 2, 35, 42))],
        "tt2/d.jpg": [(0, (7, 2, 37, 42))],  # known from the larger galleries
        "tt3/e.jpg": [(UNLABELED, (9, 2, 39, 42))],
        "tt3/q.jpg": [(0, (11, 2, 41, 42))],
    }
    assert queries(records) == [("tt3/q.jpg", 0, (11, 2, 41, 42))]
    assert records[3]["file_name"] == str(root / "Image" / "tt3" / "q.jpg")


def test_galleries():
    records = get_records("movienet_ps_gallery")
    pool = ["tt2/c.jpg", "tt2/d.jpg", "tt3/e.jpg"]
    for i, size in enumerate((2000, 4000, 10000)):
        gallery = load_gallery("movienet_ps_gallery", f"g{size}")
        assert listings(gallery, records) == {0: pool[: 1 + i]}
    assert default_protocols("movienet_ps_gallery") == ("g2000",)
    assert list_protocols("movienet_ps_gallery") == ("g2000", "g4000", "g10000", "all")
