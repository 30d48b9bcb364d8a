"""CUHK-SYSU: records and galleries of a miniature in the published layout."""

import logging

import numpy as np
import pytest
from detectron2.structures import BoxMode

from clsa_search.data import default_protocols, get_records, list_protocols, load_gallery
from clsa_search.errors import InputError
from clsa_search.evaluation import build_protocol, build_seqnet_protocol
from clsa_search.structures import UNLABELED
from tests.support.published_datasets import (
    CUHK_SEARCHES,
    boxes_by_image,
    cells,
    gallery_names,
    images_struct,
    list_queries,
    search_rows,
    write_cuhk_sysu,
    write_mat,
)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    return write_cuhk_sysu(tmp_path / "cuhk_sysu")


def test_training_images_are_those_outside_the_pool(root):
    records = get_records("cuhk_sysu_train")
    assert records[0] == {
        "file_name": str(root / "Image" / "SSM" / "s1.jpg"),
        "image_id": "s1.jpg",
        "width": 320,
        "height": 200,
        "annotations": [
            # 200 + 100 as uint8 would be 44
            {
                "bbox": [200.0, 100.0, 300.0, 160.0],
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": 0,
                "person_id": 0,
            },
            {
                "bbox": [5.0, 5.0, 25.0, 45.0],
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": 0,
                "person_id": 1,
            },
        ],
    }
    assert boxes_by_image(records) == {
        "s1.jpg": [(0, (200, 100, 300, 160)), (1, (5, 5, 25, 45))],
        "s2.jpg": [(0, (10, 10, 30, 50)), (1, (90, 10, 110, 50))],  # empty boxes are dropped
        "s3.jpg": [],
    }
    assert list_queries(records) == []


def test_the_gallery_images_are_the_pool(root, caplog):
    with caplog.at_level(logging.WARNING):
        records = get_records("cuhk_sysu_gallery")
    assert boxes_by_image(records) == {
        "s12.jpg": [(1, (14, 20, 44, 80)), (1, (150, 20, 180, 80))],  # one person twice
        "s11.jpg": [(0, (12, 20, 42, 80)), (UNLABELED, (300, 150, 320, 200))],  # clipped
        "s10.jpg": [(0, (10, 20, 40, 80)), (UNLABELED, (100, 20, 130, 80))],
        "s13.jpg": [(2, (16, 20, 46, 80))],
        "s14.jpg": [(UNLABELED, (18, 20, 48, 80))],  # a box wholly outside is dropped
        "s15.jpg": [(3, (7, 7, 37.5, 67))],  # only in the search file
        "s16.jpg": [(3, (20, 20, 50, 80))],
    }
    assert "1 box of an identity is missing from annotation/Images.mat" in caplog.text
    assert list_queries(records) == [
        ("s10.jpg", 0, (10, 20, 40, 80)),
        ("s12.jpg", 1, (14, 20, 44, 80)),
        ("s13.jpg", 2, (16, 20, 46, 80)),
        ("s16.jpg", 3, (20, 20, 50, 80)),
    ]


def test_galleries_are_as_published(root):
    records = get_records("cuhk_sysu_gallery")
    expected = {
        query: [*(name for name, _ in found), *others]
        for query, (_, _, found, others) in enumerate(CUHK_SEARCHES)
    }
    assert expected[1][0] == "s12.jpg" == CUHK_SEARCHES[1][1][0]  # the query's own image
    assert expected[2].count("s16.jpg") == 2
    for size in (50, 100, 500, 1000, 2000, 4000):
        assert gallery_names(load_gallery("cuhk_sysu_gallery", f"g{size}"), records) == expected
    for subset in ("occlusion", "low_resolution"):  # some of the queries, in another order
        gallery = load_gallery("cuhk_sysu_gallery", subset)
        assert gallery_names(gallery, records) == {query: expected[query] for query in (1, 2)}


def test_the_first_listing_of_an_image_is_known(root):
    """`--compat seqnet` finds only the box of the first listing, here the one annotated last."""
    person, query, _, _ = CUHK_SEARCHES[0]
    twice = [("s12.jpg", (150, 20, 30, 60)), ("s12.jpg", (14, 20, 30, 60))]
    searches = search_rows([(person, query, twice, ["s15.jpg"])])
    for size in (50, 100):
        path = root / f"annotation/test/train_test/TestG{size}.mat"
        write_mat(path, f"TestG{size}", searches)
    records = get_records("cuhk_sysu_gallery")
    for _ in range(2):  # the second time from the cache
        gallery = load_gallery("cuhk_sysu_gallery", "g100")
        protocol = build_seqnet_protocol(records, gallery, "g100")
        assert protocol.targets.values.boxes.tolist() == [[150, 20, 180, 80]]
        plain = build_protocol(records, gallery, "g100")
        assert plain.targets.values.boxes.tolist() == [[14, 20, 44, 80], [150, 20, 180, 80]]


def test_targets_are_the_published_ones(root):
    """In the query's own image, another box of the person comes before the query's box."""
    records = get_records("cuhk_sysu_gallery")
    protocol = build_protocol(records, load_gallery("cuhk_sysu_gallery", "g100"), "g100")
    targets = {
        int(query): protocol.targets.row(row).boxes.tolist()
        for row, query in enumerate(protocol.query_ids)
    }
    assert targets[1] == [[150, 20, 180, 80]]
    assert targets[2] == [[16, 20, 46, 80]]


def test_protocols(root):
    assert default_protocols("cuhk_sysu_gallery") == ("g100",)
    assert list_protocols("cuhk_sysu_gallery") == (
        *("g50", "g100", "g500", "g1000", "g2000", "g4000"),
        *("occlusion", "low_resolution", "all"),
    )
    assert list_protocols("cuhk_sysu_train") == ("all",)


def test_the_cache_changes_nothing(root):
    first = [get_records("cuhk_sysu_train"), get_records("cuhk_sysu_gallery")]
    gallery = load_gallery("cuhk_sysu_gallery", "g100")
    assert {path.stem for path in (root / ".clsa_search_cache").iterdir()} == {
        *("train", "gallery", "g100")
    }
    assert [get_records("cuhk_sysu_train"), get_records("cuhk_sysu_gallery")] == first
    cached = load_gallery("cuhk_sysu_gallery", "g100")
    for array, expected in (
        (cached.query_ids, gallery.query_ids),
        (cached.images.values, gallery.images.values),
        (cached.images.offsets, gallery.images.offsets),
    ):
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)
    (root / "Image" / "SSM" / "s3.jpg").unlink()
    with pytest.raises(InputError, match="s3.jpg: no such file"):
        get_records("cuhk_sysu_train")


def test_two_identities_of_one_box_are_two_boxes(root):
    """No positive of a query is missing, even if another query claims its box."""
    searches = [*CUHK_SEARCHES, ("p4", ("s14.jpg", (18, 20, 30, 60)), CUHK_SEARCHES[0][2], [])]
    write_mat(root / "annotation/test/train_test/TestG50.mat", "TestG50", search_rows(searches))
    records = get_records("cuhk_sysu_gallery")
    assert [person for person, box in boxes_by_image(records)["s11.jpg"] if box[0] == 12] == [0, 4]


@pytest.mark.parametrize(
    "missing",
    [
        *("Image/SSM/s16.jpg", "Image", "annotation/Images.mat", "annotation/pool.mat"),
        "annotation/test/train_test/TestG50.mat",
    ],
)
def test_missing_files_are_named(root, missing):
    (root / missing).rename(root / "gone")
    with pytest.raises(InputError, match=f"{missing}.*: no such file.*datasets/README.md"):
        get_records("cuhk_sysu_gallery")


def test_a_missing_dataset_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with pytest.raises(InputError, match="'cuhk_sysu_train' is not at .*/cuhk_sysu;.*README.md"):
        get_records("cuhk_sysu_train")
    with pytest.raises(InputError, match="'cuhk_sysu_gallery' is not at .*/cuhk_sysu"):
        load_gallery("cuhk_sysu_gallery", "g50")
    with pytest.raises(InputError, match="expected one of g50, g100, .*low_resolution"):
        load_gallery("cuhk_sysu_gallery", "g60")


def test_faults_of_the_search_files_are_named(root):
    path = root / "annotation/test/train_test/TestG100.mat"
    person, query, found, _ = CUHK_SEARCHES[0]
    write_mat(path, "TestG100", search_rows([(person, query, found, ["s1.jpg"])]))
    with pytest.raises(InputError, match="TestG100.mat: the gallery of query 0 lists 's1.jpg'"):
        load_gallery("cuhk_sysu_gallery", "g100")
    write_mat(path, "TestG100", search_rows([(person, found[0], [query], [])]))
    with pytest.raises(InputError, match="TestG100.mat: query 0 is .*'s11.jpg'"):
        load_gallery("cuhk_sysu_gallery", "g100")
    outside = ("p1", ("s14.jpg", (400, 20, 30, 60)), found, [])
    write_mat(path.with_name("TestG50.mat"), "TestG50", search_rows([outside]))
    with pytest.raises(InputError, match="TestG50.mat: query 0: .*400.*a box that meets"):
        get_records("cuhk_sysu_gallery")


def test_files_in_another_layout_are_named(root):
    write_mat(root / "annotation" / "Images.mat", "Img", cells([["s1.jpg", 1]]))
    with pytest.raises(InputError, match="Images.mat: not in the layout as published"):
        get_records("cuhk_sysu_train")
    write_mat(root / "annotation" / "Images.mat", "Img", images_struct({"s1.jpg": [(1, 2, 3)]}))
    with pytest.raises(InputError, match="Images.mat.*idlocate is .*expected x, y, width, height"):
        get_records("cuhk_sysu_train")
