"""The custom JSON format: reading, writing, and the message for each fault."""

import copy
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from detectron2.structures import BoxMode
from pycocotools.coco import COCO

from clsa_search.data import load_custom_json, save_custom_json
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED

DOCUMENT = {
    "images": [
        {"id": 7, "file_name": "a.jpg", "width": 100, "height": 50, "cam_id": 2},
        {"id": "night", "file_name": "sub/b.jpg", "width": 80, "height": 60},
        {"id": 9, "file_name": "empty.jpg", "width": 10, "height": 10},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [-5, 10, 20, 60], "person_id": 40},
        {"id": 2, "image_id": "night", "category_id": 1, "bbox": [1.5, 2, 3, 4.25]},
        {"id": 3, "image_id": 7, "category_id": 1, "bbox": [90, 0, 10, 50], "person_id": -1},
        {"id": 4, "image_id": "night", "category_id": 1, "bbox": [0, 0, 80, 60], "iscrowd": 1},
        {"id": 5, "image_id": "night", "category_id": 1, "bbox": [9, 9, 9, 9], "person_id": 3},
    ],
    "categories": [{"id": 1, "name": "person"}],
    "queries": [
        {"id": 50, "image_id": "night", "bbox": [9, 9, 9, 9], "person_id": 17},
        {"id": 20, "image_id": 7, "bbox": [95, 45, 50, 50], "person_id": 3},
        {"id": 30, "image_id": "night", "bbox": [0, 0, 8, 8], "person_id": 40},
    ],
    "galleries": {"small": {"50": [7, 9], "20": ["night"]}},
}


@pytest.fixture
def document():
    return copy.deepcopy(DOCUMENT)


def write(folder, document):
    path = folder / "split.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_records_hold_the_contents_of_the_file(tmp_path, document):
    first, second, empty = load_custom_json(write(tmp_path, document))
    assert first == {
        "file_name": str(tmp_path / "a.jpg"),
        "image_id": 7,
        "width": 100,
        "height": 50,
        "cam_id": 2,
        "annotations": [
            # raw ids 3, 17, 40 become 0, 1, 2; corners are clipped after the size is added
            {
                "bbox": [0.0, 10.0, 15.0, 50.0],
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": 0,
                "person_id": 2,
            },
            {
                "bbox": [90.0, 0.0, 100.0, 50.0],
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": 0,
                "person_id": UNLABELED,
            },
        ],
        "queries": [{"query_id": 1, "bbox": [95.0, 45.0, 100.0, 50.0], "person_id": 0}],
    }
    assert second["image_id"] == "night" and "cam_id" not in second
    assert [a["person_id"] for a in second["annotations"]] == [UNLABELED, 0]
    assert second["annotations"][0]["bbox"] == [1.5, 2.0, 4.5, 6.25]
    assert [(q["query_id"], q["person_id"]) for q in second["queries"]] == [(0, 1), (2, 2)]
    assert empty["annotations"] == [] and "queries" not in empty


def test_image_root_and_absolute_names(tmp_path, document):
    document["images"][1]["file_name"] = "/far/b.jpg"
    first, second, _ = load_custom_json(write(tmp_path, document), image_root="/pictures")
    assert first["file_name"] == "/pictures/a.jpg"
    assert second["file_name"] == "/far/b.jpg"


def test_pycocotools_reads_the_file_as_it_is(tmp_path):
    path = tmp_path / "split.json"
    save_custom_json(
        path,
        images=[{"id": 1, "file_name": "a.jpg", "width": 100, "height": 50}],
        annotations=[
            {"image_id": 1, "bbox": np.float32([1, 2, 3, 4]), "person_id": np.int64(5)},
            {"image_id": 1, "bbox": [20, 20, 30, 10]},
        ],
        queries=[{"image_id": 1, "bbox": [1, 2, 3, 4], "person_id": 5}],
    )
    coco = COCO(str(path))
    assert coco.getImgIds() == [1] and coco.loadCats(1)[0]["name"] == "person"
    assert coco.getAnnIds(imgIds=1, catIds=1, areaRng=[0, 100], iscrowd=False) == [1]
    assert coco.loadAnns(1)[0]["person_id"] == 5 and coco.loadAnns(2)[0]["area"] == 300


def test_a_saved_file_loads_unchanged(tmp_path, document):
    path = write(tmp_path, document)
    expected = load_custom_json(path)
    del document["categories"]
    save_custom_json(path, **document, info={"seed": 3})
    assert load_custom_json(path) == expected
    saved = json.loads(path.read_text())
    assert saved["galleries"] == DOCUMENT["galleries"] and saved["info"] == {"seed": 3}
    assert [q["id"] for q in saved["queries"]] == [50, 20, 30]


def test_a_failed_save_leaves_the_old_file(tmp_path, document):
    path = write(tmp_path, document)
    before = path.read_bytes()
    annotations = [{"image_id": 7, "bbox": [0, 0, float("nan"), 5]}]
    with pytest.raises(InputError, match=r"annotations\[0\]: 'bbox' is \[0, 0, NaN, 5\]"):
        save_custom_json(path, images=document["images"], annotations=annotations)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["split.json"]


def set_entry(section, index, **fields):
    def change(document):
        document[section][index].update(fields)

    return change


def drop(section, index, field):
    def change(document):
        del document[section][index][field]

    return change


def replace(section, value):
    return lambda document: document.update({section: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("images", 1, "width"), r"images\[1\]: 'width' is missing; expected .*pixels"),
        (set_entry("images", 0, height=0), r"images\[0\]: 'height' is 0; .*above 0"),
        (set_entry("images", 0, width="100"), r"images\[0\]: 'width' is \"100\"; .*integer"),
        (set_entry("images", 2, file_name=""), r"images\[2\]: 'file_name' is \"\""),
        (set_entry("images", 2, cam_id=1.5), r"images\[2\]: 'cam_id' is 1.5"),
        (set_entry("images", 2, cam_id=2**63), r"images\[2\]: .cam_id. is 9223372036854775808"),
        (set_entry("images", 2, id=True), r"images\[2\]: 'id' is true"),
        # predictions use ids as text, and these two would be equal
        (set_entry("images", 2, id="7"), r"images\[2\]: 'id' is \"7\"; .*images\[0\] has this"),
        (set_entry("annotations", 3, id=1), r"annotations\[3\]: 'id' is 1; .*annotations\[0\]"),
        (drop("annotations", 4, "bbox"), r"annotations\[4\]: 'bbox' is missing; .*width, height"),
        (set_entry("annotations", 4, bbox=[1, 2, 3]), r"annotations\[4\]: 'bbox' is \[1, 2, 3\]"),
        (set_entry("annotations", 4, bbox=[1, 2, 0, 4]), r"'bbox' is \[1, 2, 0, 4\]; .*above 0"),
        (set_entry("annotations", 4, bbox=[1, 2, 1e999, 4]), r"annotations\[4\]: 'bbox' is .*Inf"),
        (set_entry("annotations", 4, bbox=[1, 2, 10**400, 4]), r"annotations\[4\]: 'bbox' is "),
        (set_entry("annotations", 4, bbox=[80, 2, 3, 4]), r"annotations\[4\]: .* \(80 x 60\)"),
        (set_entry("annotations", 4, image_id=8), r"annotations\[4\]: 'image_id' is 8; .*'images'"),
        (set_entry("annotations", 4, image_id=[7]), r"annotations\[4\]: 'image_id' is \[7\]"),
        (set_entry("annotations", 4, person_id="3"), r"annotations\[4\]: 'person_id' is \"3\""),
        (set_entry("annotations", 4, person_id=-3), r"annotations\[4\]: 'person_id' is -3; .*-1"),
        (set_entry("annotations", 4, person_id=2.0), r"annotations\[4\]: 'person_id' is 2.0"),
        (set_entry("annotations", 4, person_id=2**63), r"annotations\[4\]: 'person_id' is 9223"),
        (set_entry("annotations", 4, iscrowd=2), r"annotations\[4\]: 'iscrowd' is 2"),
        (set_entry("annotations", 4, category_id=3), r"'category_id' is 3; .*'categories'"),
        (drop("queries", 1, "person_id"), r"queries\[1\]: 'person_id' is missing; .*to find"),
        (set_entry("queries", 1, person_id=-1), r"queries\[1\]: 'person_id' is -1"),
        (set_entry("queries", 1, bbox=[100, 0, 9, 9]), r"queries\[1\]: 'bbox' .*\(100 x 50\)"),
        (set_entry("queries", 1, image_id="a"), r"queries\[1\]: 'image_id' is \"a\""),
        (set_entry("queries", 1, id=50), r"queries\[1\]: 'id' is 50; .*queries\[0\] has this"),
        (replace("categories", []), r"'categories' has 0 entries; expected one"),
        (replace("annotations", {}), r"'annotations' is {}; expected a list"),
        (replace("queries", [5]), r"queries\[0\] is 5; expected an object"),
        (replace("galleries", {"g": [1]}), r"'galleries' is .*expected {name"),
        (replace("galleries", {"g": {"51": [7]}}), r"\['g'\]\['51'\]: .*'queries'"),
        (replace("galleries", {"g": {"50": 7}}), r"\['g'\]\['50'\] is 7; expected a list"),
        (replace("galleries", {"g": {"50": [8]}}), r"\['g'\]\['50'\] holds 8; .*'images'"),
    ],
)
def test_each_fault_is_named(tmp_path, document, change, message):
    change(document)
    path = write(tmp_path, document)
    with pytest.raises(InputError, match=message) as caught:
        load_custom_json(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("section", ["images", "annotations", "categories"])
def test_a_missing_section_is_named(tmp_path, document, section):
    del document[section]
    with pytest.raises(InputError, match=f"'{section}' is missing"):
        load_custom_json(write(tmp_path, document))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="none.json: not a readable JSON file: No such file"):
        load_custom_json(tmp_path / "none.json")
    with pytest.raises(InputError, match=r"not a readable JSON file: .*line 1 column 13"):
        load_custom_json(write(tmp_path, '{"images": [}'))
    with pytest.raises(InputError, match=r"holds \[\]; expected an object"):
        load_custom_json(write(tmp_path, []))
    (tmp_path / "split.json").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match="split.json: not a readable JSON file"):
        load_custom_json(tmp_path / "split.json")


def test_the_documented_example_loads(tmp_path):
    text = (Path(__file__).parents[3] / "datasets" / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    north, south = load_custom_json(write(tmp_path, example))
    assert [a["person_id"] for a in north["annotations"]] == [0, UNLABELED]
    assert north["queries"] == [{"query_id": 0, "bbox": [100, 120, 160.5, 300], "person_id": 0}]
    assert south["annotations"][0]["bbox"] == [590, 90, 640, 330] and south["cam_id"] == 2
    # the documented error is the reported one
    document = json.loads(example)
    document["annotations"] = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": [640 * (i == 17), 0, 10, 50]}
        for i in range(18)
    ]
    (shown,) = re.findall(r"error: station/train.json(.*)\n", text)
    with pytest.raises(InputError) as caught:
        load_custom_json(write(tmp_path, document))
    assert str(caught.value) == f"{tmp_path / 'split.json'}{shown}"


def test_a_large_file_loads_in_seconds(tmp_path):
    """100,000 boxes take about 1 s of processor time; 10 s leave room for a slow machine."""
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in range(20000)]
    annotations = [
        {"image_id": i // 5, "bbox": [1.0, 2.0, 30.0, 60.0], "person_id": i % 900}
        for i in range(100_000)
    ]
    save_custom_json(tmp_path / "large.json", images=images, annotations=annotations)
    start = time.process_time()
    records = load_custom_json(tmp_path / "large.json")
    assert time.process_time() - start < 10
    assert sum(len(record["annotations"]) for record in records) == 100_000
