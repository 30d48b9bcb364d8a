"""Detections of other programs: the three formats, and every wrong line."""

import json

import numpy as np
import pytest

from clsa_search.data.detections_files import read_detections, read_image_list
from clsa_search.errors import InputError


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def result(**fields):
    return {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5} | fields


def test_mot_boxes_are_grouped_by_frame(tmp_path):
    path = write(
        tmp_path / "det.txt",
        "1,-1,10,20.5,30,40,0.9,-1,-1,-1\n6, -1, 0, 0, 5, 6, 1\n\n1 -1 -3 2 4 4 0.25\n",
    )
    given = read_detections(path)
    assert list(given.boxes) == [1, 6] and given.counts_frames and len(given) == 3
    assert given.boxes[1].boxes.tolist() == [[10, 20.5, 40, 60.5], [-3, 2, 1, 6]]
    assert given.boxes[1].scores.tolist() == [0.9, 0.25]
    assert given.boxes[6].boxes.tolist() == [[0, 0, 5, 6]]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1,-1,10,20,30,40", "6 fields; expected frame, track, x, y, width, height, score"),
        ("1" + ",1" * 10, "11 fields; expected frame"),
        ("0,-1,10,20,30,40,1", "frame is 0; expected an integer from 1"),
        ("1.5,-1,10,20,30,40,1", "frame is 1.5; expected an integer from 1"),
        ("1,-1,ten,20,30,40,1", "x is 'ten'; expected a number"),
        ("1,-1,10,nan,30,40,1", "y is 'nan'; expected a number"),
        ("1,-1,1e30,20,30,40,1", "x is 1e+30; expected pixels"),
        ("1,-1,10,20,0,40,1", "width is 0; expected pixels, above 0"),
        ("1,-1,10,20,30,-4,1", "height is -4; expected pixels, above 0"),
        ("1,-1,10,20,30,40,73.5", "score is 73.5; expected a number from 0 to 1"),
    ],
)
def test_wrong_lines_of_mot_are_named(tmp_path, line, expected):
    path = write(tmp_path / "det.txt", f"1,-1,10,20,30,40,1\n{line}\n")
    with pytest.raises(InputError) as error:
        read_detections(path)
    assert str(error.value).startswith(f"{path}: line 2: {expected}")


def test_unreadable_texts_and_classes_of_mot_are_refused(tmp_path):
    path = tmp_path / "det.txt"
    path.write_bytes(b"\xff\xfe\x00")
    for given in (path, tmp_path / "none.txt"):
        with pytest.raises(InputError, match=f"{given}: not a readable text file"):
            read_detections(given)
    with pytest.raises(InputError, match="det.txt: has no classes; expected no category 'cat'"):
        read_detections(path, category="cat")


def test_yolo_labels_are_shares_by_name(tmp_path):
    write(tmp_path / "labels/cam1/a.txt", "0 0.5 0.5 0.2 0.4 0.75\n2 0.5 0.5 1 1 0.9\n")
    write(tmp_path / "labels/door_7.txt", "0 0.5 0.25 1 0.5\n0 0.5 0.5 1 1 0.5 12\n")
    write(tmp_path / "labels/empty.txt", "")
    write(tmp_path / "labels/classes.txt", "person\ncar\n")
    given = read_detections(tmp_path / "labels")
    assert list(given.boxes) == ["cam1/a", "door_7"]
    pixels = given.boxes["cam1/a"].fit(100, 50)
    np.testing.assert_allclose(pixels.boxes, [[40, 15, 60, 35]])
    assert given.boxes["door_7"].scores.tolist() == [1, 0.5]
    cars = read_detections(tmp_path / "labels", category="2")
    assert len(cars) == 1 and cars.boxes["cam1/a"].scores.tolist() == [0.9]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 0.5 0.5 0.2", "4 fields; expected class, x, y, width, height, score"),
        ("0 0.5 0.5 0.2 0.4 0.5 3 4", "8 fields"),
        ("person 0.5 0.5 0.2 0.4 0.5", "class is 'person'; expected a number"),
        ("-1 0.5 0.5 0.2 0.4 0.5", "class is -1; expected an integer from 0"),
        ("0 320 240 64 96 0.5", "x is 320; expected shares of the image's sides"),
        ("0 0.5 0.5 0 0.4 0.5", "width is 0; expected shares of the image's sides, above 0"),
        ("0 0.5 0.5 0.2 0.4 50", "score is 50; expected a number from 0 to 1"),
    ],
)
def test_wrong_lines_of_yolo_are_named(tmp_path, line, expected):
    path = write(tmp_path / "labels/a.txt", f"0 0.5 0.5 0.2 0.4\n{line}\n")
    with pytest.raises(InputError) as error:
        read_detections(tmp_path / "labels")
    assert str(error.value).startswith(f"{path}: line 2: {expected}")


def test_folders_without_labels_and_without_persons_are_refused(tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path}: no labels; expected <image>.txt"):
        read_detections(tmp_path)
    write(tmp_path / "a.txt", "3 0.5 0.5 0.2 0.4\n")
    with pytest.raises(InputError, match="no box of class 0; expected the class of persons, of 3"):
        read_detections(tmp_path)
    with pytest.raises(InputError, match="category is 'person'; expected its number"):
        read_detections(tmp_path, category="person")


def test_coco_results_take_their_names_from_ids_or_from_a_list(tmp_path):
    path = write(
        tmp_path / "results.json",
        [result(), result(image_id="cam2/b.jpg", score=1), result(category_id=3)],
    )
    given = read_detections(path)
    assert list(given.boxes) == [1, "cam2/b.jpg"] and not given.counts_frames
    assert given.boxes[1].boxes.tolist() == [[1, 2, 4, 6]]
    listed = write(
        tmp_path / "images.json",
        {
            "images": [{"id": 1, "file_name": "cam1/a.jpg"}],
            "categories": [{"id": 3, "name": "Person"}, {"id": 1, "name": "car"}],
        },
    )
    images = read_image_list(listed)
    assert list(read_detections(path, images).boxes) == ["cam1/a.jpg"]
    assert len(read_detections(path, images, "car")) == 2
    assert len(read_detections(path, images, "1")) == 2


def test_a_coco_file_with_scores_names_its_own_images(tmp_path):
    images = [{"id": 7, "file_name": "a.jpg"}]
    document = {"images": images, "annotations": [result(image_id=7)]}
    path = write(tmp_path / "both.json", document)
    assert list(read_detections(path).boxes) == ["a.jpg"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[", "not a readable JSON file"),
        ([3], "results[0] is 3; expected an object"),
        ([result(), result(score=None)], "results[1]: 'score' is null; expected a number from 0"),
        ([result(score=True)], "'score' is true; expected a number from 0 to 1"),
        ([result(bbox=[1, 2, 3])], "'bbox' is [1, 2, 3]; expected [x, y, width, height]"),
        ([result(image_id=None)], "'image_id' is null; expected an integer or a text"),
        ([result(category_id="1")], "'category_id' is \"1\"; expected an integer"),
        ([result(category_id=2)], "no box of class 1; expected the class of persons, of 2"),
        ({"annotations": [result()]}, "'images' is missing"),
        ("3", "'results' is 3; expected a list of objects"),
    ],
)
def test_wrong_results_of_coco_are_named(tmp_path, content, expected):
    path = write(tmp_path / "results.json", content)
    with pytest.raises(InputError) as error:
        read_detections(path)
    assert str(error.value).startswith(f"{path}: ") and expected in str(error.value)


def test_wrong_lists_of_images_are_named(tmp_path):
    path = write(tmp_path / "images.json", [])
    with pytest.raises(InputError, match="holds no object; expected one with 'images'"):
        read_image_list(path)
    write(path, {"images": [{"id": 1}]})
    with pytest.raises(InputError, match=r"images\[0\]: 'file_name' is missing"):
        read_image_list(path)


def test_files_without_boxes_are_empty(tmp_path):
    assert len(read_detections(write(tmp_path / "det.txt", ""))) == 0
    assert len(read_detections(write(tmp_path / "results.json", []))) == 0
