"""Market-1501, MSMT17 and CUHK03: their published folders as records of crops."""

import pytest

from clsa_search.data import get_records, load_gallery
from clsa_search.data.datasets.reid_folders import load_market_folders, load_msmt17
from clsa_search.errors import InputError
from tests.support.reid_folders import write_crop, write_market, write_msmt17


def test_market_training_crops_have_people_and_cameras(tmp_path):
    records = load_market_folders(write_market(tmp_path), "train")
    assert [record["annotations"][0]["person_id"] for record in records] == [0, 0, 1]
    assert [record["cam_id"] for record in records] == [1, 2, 3]
    assert records[0]["annotations"][0]["bbox"] == [0, 0, 8, 16]
    assert (records[0]["width"], records[0]["height"]) == (8, 16)


def test_market_gallery_drops_junk_and_holds_the_queries(tmp_path):
    records = load_market_folders(write_market(tmp_path), "gallery")
    names = [record["file_name"].rpartition("/")[2] for record in records]
    assert not any(name.startswith("-1") for name in names)
    queries = [record for record in records if record.get("queries")]
    assert len(records) == 6 and len(queries) == 2
    assert not queries[0]["annotations"]


def test_the_gallery_of_a_query_leaves_out_its_person_in_its_camera(tmp_path, monkeypatch):
    write_market(tmp_path / "Market-1501-v15.09.15")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    records = get_records("market1501_gallery")
    gallery = load_gallery("market1501_gallery", "reid")
    first = [records[i]["file_name"].rpartition("/")[2] for i in gallery.images.row(0)]
    # the distractor and others of camera 1 stay, 0001_c1 goes
    assert first == [
        "0000_c1s1_000151_01.jpg",
        "0001_c2s1_002301_02.jpg",
        "0003_c2s1_000001_01.jpg",
    ]
    assert len(gallery.images.row(1)) == 4


def test_msmt17_joins_training_and_validation(tmp_path):
    root = write_msmt17(tmp_path)
    train = load_msmt17(root, "train")
    assert [r["annotations"][0]["person_id"] for r in train] == [0, 1]
    assert [r["cam_id"] for r in train] == [1, 2]
    gallery = load_msmt17(root, "gallery")
    assert [r["cam_id"] for r in gallery] == [11, 5]
    assert gallery[1]["queries"][0]["person_id"] == 0


@pytest.mark.parametrize("name", ["person", "99999999999999999999_c1", "1_c99999999999999999999"])
def test_a_name_without_camera_is_refused(tmp_path, name):
    root = write_market(tmp_path)
    write_crop(root / "query" / f"{name}.jpg")
    with pytest.raises(InputError, match=rf"{name}\.jpg.*expected a name such as 0002_c1"):
        load_market_folders(root, "gallery")


@pytest.mark.parametrize(
    "line",
    [
        *("0000/0000_000_05_x.jpg", "0000/x.jpg 0", "a b c", "x.jpg -1"),
        *("0000/0000_000_05_x.jpg 99999999999999999999", "0000/0000_000_05_x.jpg ٣"),
        "0000/0000_000_99999999999999999999_x.jpg 0",
        "\udcff\udcfe 0",
    ],
)
def test_a_malformed_line_of_msmt17_names_file_and_line(tmp_path, line):
    root = write_msmt17(tmp_path)
    (root / "list_query.txt").write_bytes(f"{line}\n".encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"list_query\.txt: line 1 is .*expected a name and"):
        load_msmt17(root, "gallery")


@pytest.mark.parametrize("part", ["query", "bounding_box_test"])
def test_a_missing_or_empty_folder_is_named(tmp_path, part):
    root = write_market(tmp_path)
    for path in (root / part).iterdir():
        path.unlink()
    with pytest.raises(InputError, match=f"{part}: no .jpg"):
        load_market_folders(root, "gallery")
    (root / part).rmdir()
    with pytest.raises(InputError, match=part):
        load_market_folders(root, "gallery")
