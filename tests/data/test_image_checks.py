"""Checks of image files: one message for all faults of a kind."""

import pytest
from PIL import Image

from clsa_search.data.image_checks import check_images_exist, find_image_faults, read_image_sizes
from clsa_search.errors import InputError


def make_records(folder, count):
    return [{"file_name": str(folder / f"{i}.png"), "width": 4, "height": 3} for i in range(count)]


def write(records, size=(4, 3)):
    for record in records:
        Image.new("RGB", size).save(record["file_name"])


def test_missing_images_are_counted(tmp_path):
    records = make_records(tmp_path, 1006)
    write(records[:3] + records[1004:])
    expected = (
        "1,001 of 1,006 images are missing (--image-root names another folder of a JSON file's "
        f"images): {tmp_path}/3.png, {tmp_path}/4.png, {tmp_path}/5.png, and 998 more"
    )
    assert find_image_faults(records) == [expected]
    for check in (
        lambda: check_images_exist(records),
        lambda: read_image_sizes([record["file_name"] for record in records]),
    ):
        with pytest.raises(InputError) as caught:
            check()
        assert str(caught.value) == expected
    check_images_exist(records[:3])


def test_each_kind_of_fault_has_a_message(tmp_path):
    records = make_records(tmp_path, 7)
    write(records[:5])
    write(records[2:4], size=(9, 8))
    for record in records[:2]:
        open(record["file_name"], "w").write("no image")
    *unreadable, wrong, missing = find_image_faults(records)
    assert len(unreadable) == 2
    for number, message in enumerate(unreadable):
        assert message.startswith(f"{tmp_path}/{number}.png: not readable as")
    assert wrong == (
        "2 of 7 images have another size than in the dataset: "
        f"{tmp_path}/2.png: 9 x 8 pixels as viewed; expected 4 x 3, "
        f"{tmp_path}/3.png: 9 x 8 pixels as viewed; expected 4 x 3"
    )
    assert missing.startswith("2 of 7 images are missing")
    (alone,) = find_image_faults(records[4:6])
    assert alone.startswith(f"{tmp_path}/5.png: no such file")
    with pytest.raises(InputError, match="2 of 5 images cannot be read"):
        read_image_sizes([record["file_name"] for record in records[:5]])


def test_every_cut_image_is_named_unless_only_headers_are_read(tmp_path):
    records = make_records(tmp_path, 120)
    write(records, size=(90, 60))
    records = [record | {"width": 90, "height": 60} for record in records]
    assert find_image_faults(records) == []
    for record in records[10:]:
        content = open(record["file_name"], "rb").read()
        open(record["file_name"], "wb").write(content[: len(content) - 40])
    calls = []
    faults = find_image_faults(records[:50], on_image=lambda: calls.append(1))
    assert [fault.partition(": ")[0] for fault in faults] == [
        record["file_name"] for record in records[10:50]
    ]
    assert len(calls) == 50
    (many,) = find_image_faults(records)
    assert many.startswith(f"110 of 120 images cannot be read: {tmp_path}/10.png: ")


def test_names_that_no_file_can_have_are_missing():
    records = [
        {"file_name": name, "width": 1, "height": 1} for name in ("a\0b", "\ud800", "x" * 9999)
    ]
    (message,) = find_image_faults(records)
    assert message.startswith("3 of 3 images are missing")
