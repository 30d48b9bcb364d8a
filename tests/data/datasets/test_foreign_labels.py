"""JSON files of annotation tools: the field of the identity, several categories, file names."""

import json

import pytest
from PIL import Image

from clsa_search.data import load_custom_json
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED


def make_document(annotations, categories=("person",)):
    """Return a document of two images, as CVAT exports it."""
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": ""},
        "categories": [
            {"id": number, "name": name, "supercategory": ""}
            for number, name in enumerate(categories, start=1)
        ],
        "images": [
            {"id": i, "width": 64, "height": 48, "file_name": f"frame_00000{i}.PNG", "license": 0}
            for i in (1, 2)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": 1 + number % 2,
                "category_id": 1,
                "segmentation": [],
                "area": 100.0,
                "bbox": [number, 4.0, 10.0, 20.5],
                "iscrowd": 0,
            }
            | fields
            for number, fields in enumerate(annotations, start=1)
        ],
    }


def write(folder, document, encoding="utf-8"):
    path = folder / "tool.json"
    path.write_text(json.dumps(document), encoding=encoding)
    return path


def person_ids(path, **options):
    """Return the person ids in the order of the annotations."""
    records = load_custom_json(path, **options)
    boxes = [box for record in records for box in record["annotations"]]
    return [box["person_id"] for box in sorted(boxes, key=lambda box: box["bbox"][0])]


def attributes(*track_ids):
    return [
        {"attributes": {"occluded": False, "rotation": 0.0} | fields}
        for fields in ({} if i is None else {"track_id": i} for i in track_ids)
    ]


@pytest.mark.parametrize(
    ("annotations", "field", "values"),
    [
        (attributes(7, 0, 7, None), "attributes.track_id", 2),
        ([{"track_id": 4}, {"track_id": 5}, {}], "track_id", 2),
        ([{"attributes": {"Person ID": "anna"}}], "attributes.Person ID", 1),
        ([{"attributes": {"id": 3}, "instance_id": 4}], "instance_id", 1),
    ],
)
def test_identities_in_another_field_are_named(tmp_path, annotations, field, values):
    path = write(tmp_path, make_document(annotations))
    with pytest.raises(InputError) as caught:
        load_custom_json(path)
    assert str(caught.value) == (
        f"{path}: no entry of 'annotations' has 'person_id', but '{field}' has {values} different "
        f"value{'s' if values > 1 else ''}; expected the field of the identities: "
        f"--id-field {field} takes this one"
    )
    load_custom_json(path, id_field=field)
    with pytest.raises(InputError, match="no entry of 'annotations' has 'shoe', but"):
        load_custom_json(path, id_field="shoe")


def test_the_field_of_the_identity_is_chosen(tmp_path):
    path = write(tmp_path, make_document(attributes(7, 0, 7, None, -1)))
    assert person_ids(path, id_field="attributes.track_id") == [1, 0, 1, UNLABELED, UNLABELED]
    values = ["anna", "bob", " anna ", "", None, "-1", 12, "12", 12.0]
    path = write(tmp_path, make_document([{"who": value} for value in values]))
    assert person_ids(path, id_field="who") == [1, 2, 1, *[UNLABELED] * 3, 0, 0, 0]
    for wrong in (1.5, True, [1], {"a": 1}, -3, 2**63, float("nan")):
        path = write(tmp_path, make_document([{"who": "anna"}, {"who": wrong}, {"who": wrong}]))
        message = r"annotations\[1\]: 'who' is .*expected an integer or a text.*in 1 more entry"
        with pytest.raises(InputError, match=message):
            load_custom_json(path, id_field="who")


def test_a_file_without_any_identity_trains_the_detector(tmp_path):
    path = write(tmp_path, make_document([{}, {"attributes": {"occluded": True}}]))
    assert person_ids(path) == [UNLABELED] * 2
    with pytest.raises(InputError, match="no entry of 'annotations' has 'track_id'; expected the"):
        load_custom_json(path, id_field="track_id")
    assert person_ids(write(tmp_path, make_document([]))) == []


def test_unknown_identities_of_prw_are_unlabeled(tmp_path):
    document = make_document([{"person_id": i} for i in (5, -2, -1, None, 3)])
    path = write(tmp_path, document)
    assert person_ids(path) == [1, UNLABELED, UNLABELED, UNLABELED, 0]


def test_queries_have_the_field_of_the_annotations_or_person_id(tmp_path):
    document = make_document([{"who": "bob"}, {"who": "anna"}])
    document["queries"] = [{"id": 1, "image_id": 1, "bbox": [1, 1, 9, 9], "who": "bob"}]
    first, _ = load_custom_json(write(tmp_path, document), id_field="who")
    assert first["queries"][0]["person_id"] == 1
    del document["queries"][0]["who"]
    document["queries"][0]["person_id"] = 1
    with pytest.raises(InputError, match=r"queries\[0\]: 'who' is missing; expected the person"):
        load_custom_json(write(tmp_path, document), id_field="who")
    document["annotations"][0]["person_id"] = 1  # all in the field of the format
    first, second = load_custom_json(write(tmp_path, document), id_field="who")
    assert first["queries"][0]["person_id"] == second["annotations"][0]["person_id"] == 0
    document = make_document([{"track_id": 40}, {"track_id": 30}])
    document["queries"] = [{"id": 1, "image_id": 1, "bbox": [1, 1, 9, 9], "person_id": 40}]
    first, _ = load_custom_json(write(tmp_path, document), id_field="track_id")
    assert first["queries"][0]["person_id"] == 1


def test_one_of_several_categories_is_chosen(tmp_path):
    """Messages name entries by their position in the file."""
    boxes = [{"category_id": 2, "bbox": "no box"}, {"category_id": 1}, {"category_id": 3}]
    document = make_document(boxes, categories=("person", "car", "bus"))
    path = write(tmp_path, document)
    with pytest.raises(InputError) as caught:
        load_custom_json(path)
    assert str(caught.value) == (
        f"{path}: 'categories' has 3 entries; expected one, the person; --category takes one of "
        "several: 'person' (id 1, 1 box); 'car' (id 2, 1 box); 'bus' (id 3, 1 box)"
    )
    for category in ("person", "Person", "1"):
        assert person_ids(path, category=category) == [UNLABELED]
    with pytest.raises(InputError, match="'categories' has 0 entries for category 'man'; .*'bus'"):
        load_custom_json(path, category="man")
    document["annotations"][2]["category_id"] = 4
    with pytest.raises(InputError, match=r"annotations\[2\]: 'category_id' is 4; .*\[1, 2, 3\]"):
        load_custom_json(write(tmp_path, document), category="person")
    document["annotations"][2] |= {"category_id": 1, "bbox": [1, 2, 0, 4]}
    with pytest.raises(InputError, match=r"annotations\[2\]: 'bbox' is \[1, 2, 0, 4\]"):
        load_custom_json(write(tmp_path, document), category="person")


def test_a_name_of_two_categories_means_the_one_with_boxes(tmp_path):
    """Roboflow exports the project as category 0, here with the name of a class."""
    document = make_document([{}, {}], categories=("person",))
    document["categories"].insert(0, {"id": 0, "name": "person", "supercategory": "none"})
    path = write(tmp_path, document)
    assert len(person_ids(path, category="person")) == 2
    assert person_ids(path, category="0") == []


def test_byte_order_marks_and_backslashes(tmp_path):
    document = make_document([{}])
    document["images"][0]["file_name"] = "images\\1\\a.png"
    document["images"][1]["file_name"] = "odd\\name.png"
    Image.new("RGB", (64, 48)).save(tmp_path / "odd\\name.png")
    first, second = load_custom_json(write(tmp_path, document, encoding="utf-8-sig"))
    assert first["file_name"] == str(tmp_path / "images" / "1" / "a.png")
    assert second["file_name"] == str(tmp_path / "odd\\name.png")  # a file of this name exists


def test_faults_of_a_kind_are_counted(tmp_path):
    document = make_document([{}, {"bbox": [0, 0, 0, 0]}, {"bbox": None}, {"bbox": "1,2,3,4"}])
    message = r"annotations\[1\]: 'bbox' is \[0, 0, 0, 0\]; .* \(and so in 2 more entries\)$"
    with pytest.raises(InputError, match=message):
        load_custom_json(write(tmp_path, document))
