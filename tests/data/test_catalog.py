"""Names of datasets, the time of reading, and identities of several training sets."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from detectron2.data import MetadataCatalog

from clsa_search.data import (
    count_identities,
    get_records,
    list_datasets,
    load_training_records,
    register_custom_json,
    resolve_dataset,
    save_custom_json,
)
from clsa_search.data.builtin import PUBLISHED_SPLITS, SYNTHETIC_SPLITS
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED

pytestmark = pytest.mark.usefixtures("forget_new_names")


def write(path, person_ids, queries=()):
    """Write a 20 x 20 image with a box for each person id (None: unlabeled)."""
    save_custom_json(
        path,
        images=[{"id": 1, "file_name": "1.jpg", "width": 20, "height": 20}],
        annotations=[
            {"image_id": 1, "bbox": [i, 0, 5, 5]} | ({} if p is None else {"person_id": p})
            for i, p in enumerate(person_ids)
        ],
        queries=[{"image_id": 1, "bbox": [0, 0, 5, 5], "person_id": p} for p in queries],
    )
    return str(path)


def person_ids(records):
    return [[a["person_id"] for a in record["annotations"]] for record in records]


def test_a_file_is_a_name(tmp_path):
    path = write(tmp_path / "custom.json", [4, None])
    assert resolve_dataset(path) == path == resolve_dataset(path)
    assert person_ids(get_records(path)) == [[0, UNLABELED]]
    metadata = MetadataCatalog.get(path)
    assert metadata.json_file == path and metadata.image_root == str(tmp_path)
    assert metadata.evaluator_type == "person_search" and metadata.thing_classes == ["person"]


@pytest.mark.parametrize("name", ["coco_2017_val", "voc_2007_train", "nothing"])
def test_a_name_of_no_person_search_dataset_lists_the_names(name):
    with pytest.raises(InputError, match=f"{name}.*; expected one of .*prw_gallery.*JSON"):
        get_records(name)


def test_a_registered_file_is_read_on_request(tmp_path):
    register_custom_json("mine", tmp_path / "later.json", tmp_path / "pictures")
    write(tmp_path / "later.json", [1])
    assert get_records("mine")[0]["file_name"] == str(tmp_path / "pictures" / "1.jpg")
    register_custom_json("mine", tmp_path / "later.json", tmp_path / "pictures")  # again: no harm
    with pytest.raises(InputError, match="'mine' is taken.*later.json"):
        register_custom_json("mine", tmp_path / "other.json")


def test_built_in_names_follow_the_current_root(tmp_path, monkeypatch):
    for root in ("a", "b"):
        monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / root))
        path = write(tmp_path / root / "synthetic_demo" / "train.json", [7] if root == "a" else [])
        assert len(get_records("synthetic_demo_train")[0]["annotations"]) == (root == "a")
        assert MetadataCatalog.get("synthetic_demo_train").json_file == path
    monkeypatch.delenv("DETECTRON2_DATASETS")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="datasets/synthetic_demo/train.json"):
        get_records("synthetic_demo_train")


def test_the_message_for_an_unknown_name_lists_the_known_names():
    with pytest.raises(InputError, match="'synthetik'.*synthetic_gallery, synthetic_train.*json"):
        get_records("synthetik")
    assert "coco_2017_train" not in list_datasets()
    assert set(PUBLISHED_SPLITS) | set(SYNTHETIC_SPLITS) <= set(list_datasets())


def test_identities_of_several_sets_do_not_collide(tmp_path):
    first = write(tmp_path / "1.json", [10, None, 30])
    second = write(tmp_path / "2.json", [30, 5], queries=[90])
    third = write(tmp_path / "3.json", [30])
    merged = load_training_records([first, second, third])
    # the second set has three identities, one of them only in a query
    assert person_ids(merged) == [[0, UNLABELED, 1], [3, 2], [5]]
    assert merged[1]["queries"][0]["person_id"] == 4
    assert count_identities(merged) == 6
    assert person_ids(get_records(second)) == [[1, 0]]


def test_no_identities_count_as_none(tmp_path):
    assert count_identities(get_records(write(tmp_path / "1.json", [None]))) == 0
    assert count_identities([]) == 0 and load_training_records([]) == []


def test_a_set_that_is_named_twice_is_an_error(tmp_path):
    first, second = (write(tmp_path / f"{name}.json", [1, 2]) for name in ("first", "second"))
    with pytest.raises(InputError, match="DATASETS.TRAIN names .*first.json twice"):
        load_training_records([first, second, first])


def test_importing_reads_nothing(tmp_path):
    """Names exist without data, and the root is looked up at reading time."""
    code = (
        "import clsa_search.data as data, os;"
        f"os.environ['DETECTRON2_DATASETS'] = {str(tmp_path)!r};"
        "assert 'synthetic_train' in data.list_datasets();"
        "print(len(data.get_records('synthetic_train')))"
    )
    write(tmp_path / "synthetic" / "train.json", [1])
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "1"


def test_the_documentation_knows_every_name_and_its_python_runs():
    text = (Path(__file__).parents[2] / "datasets" / "README.md").read_text(encoding="utf-8")
    for name in (*SYNTHETIC_SPLITS, *PUBLISHED_SPLITS):
        assert f"`{name}`" in text
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(textwrap.dedent(code), {})
    assert MetadataCatalog.get("station_train").image_root == "station"
    assert MetadataCatalog.get("station_gallery").image_root == "/pictures/station"
    assert {"station_train", "station_gallery"} <= set(list_datasets())
