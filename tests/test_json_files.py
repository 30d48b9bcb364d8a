"""JSON files: encodings, and every fault as an InputError with the file's name."""

import json

import pytest

from clsa_search.data import load_custom_json
from clsa_search.errors import InputError
from clsa_search.evaluation import load_predictions
from clsa_search.json_files import parse_json, read_json
from clsa_search.visualize.curves import read_metrics

DEEP = "[" * 200_000


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings(tmp_path, encoding):
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps({"größe": [1, None]}, ensure_ascii=False).encode(encoding))
    assert read_json(path) == {"größe": [1, None]}


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff\xd8\xff\xe0", b'"\xff"', b"\xff\xfe\x00", DEEP.encode(), b"1" * 5000],
)
def test_faults_name_the_file(tmp_path, data):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match="a.json: not a readable JSON file: ."):
        read_json(path)
    with pytest.raises(InputError, match="line 7: not a readable JSON file: ."):
        parse_json(data, "line 7")


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(InputError, match="none.json: not a readable JSON file: No such file"):
        read_json(tmp_path / "none.json")
    with pytest.raises(InputError, match="not a readable JSON file: Is a directory"):
        read_json(tmp_path)


def test_readers_of_json_refuse_deep_nesting(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(DEEP)
    for read in (load_custom_json, load_predictions):
        with pytest.raises(InputError, match="x.json: "):
            read(path)
    path.write_text(f'{DEEP}\n{{"iteration": 1, "a": 1e400, "b": 2, "c": {"9" * 400}}}\n')
    assert list(read_metrics(path)) == ["b"]


@pytest.mark.parametrize("depth", range(800, 1000, 10))
def test_a_value_that_is_nested_too_deeply_to_show(tmp_path, depth):
    path = tmp_path / "x.json"
    path.write_text('{"images": ' + "[" * depth + "]" * depth + "}")
    with pytest.raises(InputError, match="x.json: "):
        load_custom_json(path)
