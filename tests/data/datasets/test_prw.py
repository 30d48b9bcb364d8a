"""PRW: a miniature in the published layout, with gaps in person ids and boxes out of frame."""

import numpy as np
import pytest

from clsa_search.data import count_identities, default_protocols, get_records, list_protocols
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED
from tests.support.published_datasets import (
    boxes_by_image,
    cells,
    list_queries,
    write_mat,
    write_prw,
)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    return write_prw(tmp_path / "prw")


def test_training_frames(root):
    records = get_records("prw_train")
    assert boxes_by_image(records) == {
        # far corners before clipping are -6.5 + 20 and -3 + 40; then the frame's edge
        "c6s2_000007.jpg": [(2, (0, 0, 13.5, 37)), (0, (60, 5, 72, 45))],
        # 1, 483 and 932 become 0, 1 and 2; -2 is unlabeled
        "c1s1_000001.jpg": [
            (0, (10, 5, 30, 45)),
            (1, (50, 5, 70, 45)),
            (UNLABELED, (80, 5, 100, 45)),
        ],
    }
    # published boxes are kept for clipped boxes only
    clipped = {
        tuple(a["published_bbox"]) for a in records[0]["annotations"] if "published_bbox" in a
    }
    assert (-6.5, -3, 13.5, 37) in clipped
    assert not any("published_bbox" in a for a in records[1]["annotations"])
    assert count_identities(records) == 3
    assert [(r["cam_id"], r["width"], r["height"]) for r in records] == [
        *((6, 72, 57), (1, 192, 108))
    ]
    assert records[0]["file_name"] == str(root / "frames" / "c6s2_000007.jpg")


def test_gallery_frames_and_queries():
    records = get_records("prw_gallery")
    assert boxes_by_image(records) == {
        "c3s1_000003.jpg": [(1, (12, 5, 32, 45)), (1, (52, 5, 72, 45))],  # one identity twice
        "c2s1_000002.jpg": [(1, (10, 5, 30, 45)), (0, (50, 5, 70, 45))],
        "c3s1_000004.jpg": [],
    }
    assert list_queries(records) == [
        ("c2s1_000002.jpg", 0, (50, 5, 70, 45)),
        ("c3s1_000003.jpg", 1, (12, 5, 32, 45)),
    ]


def test_protocols():
    assert default_protocols("prw_gallery") == ("all",)
    assert list_protocols("prw_gallery") == ("all", "cross_camera")


def test_the_first_known_variable_holds_the_boxes(root):
    path = root / "annotations" / "c1s1_000001.jpg.mat"
    write_mat(path, "anno_previous", np.array([[5, 0, 0, 9, 9]]))
    assert len(boxes_by_image(get_records("prw_train"))["c1s1_000001.jpg"]) == 1
    write_mat(path, "boxes", np.array([[5, 0, 0, 9, 9]]))
    with pytest.raises(InputError, match="no variable 'box_new' or 'anno_file' or 'anno_previous'"):
        get_records("prw_train")
    write_mat(path, "box_new", np.array([[5, 0, 0, 9]]))
    with pytest.raises(InputError, match="c1s1_000001.jpg.mat: rows of 4 numbers; expected pid"):
        get_records("prw_train")


@pytest.mark.parametrize(
    "line",
    [
        *("1 2 3 4 5", "x 1 2 3 4 c2s1_000002", "1 2 3 4 5 6 c2s1_000002"),
        *("1 2 3 4 5 c1s1_000001", "1 2 3 4 nan? c2s1_000002"),
        *("1 nan 3 4 5 c2s1_000002", "1 2 3 inf 5 c2s1_000002", "9e9 2 3 4 5 c2s1_000002"),
    ],
)
def test_faults_of_the_queries_are_named(root, line):
    path = root / "query_info.txt"
    path.write_text(path.read_text() + f"\n{line}\n")  # after an empty line
    with pytest.raises(InputError, match=r"query_info.txt: line 4 is .*expected pid x y w h"):
        get_records("prw_gallery")


def test_a_query_outside_its_frame_is_named(root):
    (root / "query_info.txt").write_text("933 500 5 20 40 c3s1_000003")
    with pytest.raises(InputError, match="query_info.txt: query 0: .*500.0.*a box that"):
        get_records("prw_gallery")


@pytest.mark.parametrize(
    "missing",
    [
        *("frame_test.mat", "query_info.txt", "frames", "annotations"),
        *("frames/c3s1_000004.jpg", "annotations/c3s1_000004.jpg.mat"),
    ],
)
def test_missing_files_are_named(root, missing):
    (root / missing).rename(root / "gone")
    with pytest.raises(InputError, match=f"{missing}: no such file.*datasets/README.md"):
        get_records("prw_gallery")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[5, 0, np.nan, 9, 9]], r"row 0 is \[5.0, 0.0, nan, 9.0, 9.0\]; expected pid, x, y, w, h"),
        ([[5, 0, 0, 9, 9], [np.inf, 0, 0, 9, 9]], "row 1 is .*inf"),
        ([["a", "b", "c", "d", "e"]], "expected pid, x, y, w, h"),
    ],
)
def test_faults_of_the_boxes_are_named(root, rows, message):
    value = np.array(rows, dtype=object if isinstance(rows[0][0], str) else np.float64)
    write_mat(root / "annotations" / "c1s1_000001.jpg.mat", "box_new", value)
    with pytest.raises(InputError, match=f"c1s1_000001.jpg.mat: .*{message}"):
        get_records("prw_train")


def test_faults_of_the_frames_are_named(root):
    for names, message in (
        ([["c1s1_000001"], ["c1s1_000001"]], "frame 'c1s1_000001' is listed twice"),
        ([["c1s1_000001"], [np.zeros((0, 0))]], r"frame 1 is \[\]; expected a name"),
    ):
        write_mat(root / "frame_train.mat", "img_index_train", cells(names))
        with pytest.raises(InputError, match=f"frame_train.mat: {message}"):
            get_records("prw_train")


def test_missing_annotations_are_counted(root):
    for path in (root / "annotations").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="2 of 2 files are missing, such as .*annotations/c6s2"):
        get_records("prw_train")


def test_any_negative_person_id_is_unlabeled(root):
    write_mat(root / "annotations" / "c1s1_000001.jpg.mat", "box_new", np.array([[-1, 0, 0, 9, 9]]))
    assert boxes_by_image(get_records("prw_train"))["c1s1_000001.jpg"][0][0] == UNLABELED
