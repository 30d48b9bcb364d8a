"""The reader of MATLAB variables agrees with SciPy's, and names what it does not read."""

import random
import struct
import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat, whosmat

from clsa_search.data.datasets.mat_file import load_variable
from clsa_search.errors import InputError
from tests.support.published_datasets import WRITERS, cells, structs


def assert_same(one, other):
    assert type(one) is type(other)
    if not isinstance(one, np.ndarray):
        assert one == other
        return
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    if one.dtype.hasobject:
        for pair in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True):
            for values in zip(*pair, strict=True) if one.dtype.names else [pair]:
                assert_same(*values)
    else:
        np.testing.assert_array_equal(one, other)


def element(order, kind, data):
    if 0 < len(data) <= 4:  # type and size share a word
        return struct.pack(order + "I", len(data) << 16 | kind) + data.ljust(4, b"\0")
    return struct.pack(order + "II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(order, kind, dimensions, contents, name=b"", flags=0):
    body = element(order, 6, struct.pack(order + "II", kind | flags, 0))
    body += element(order, 5, struct.pack(f"{order}{len(dimensions)}i", *dimensions))
    return element(order, 14, body + element(order, 1, name) + contents)


def write(path, order, *variables):
    header = b"MATLAB 5.0 MAT-file".ljust(124) + (b"\x00\x01IM" if order == "<" else b"\x01\x00MI")
    path.write_bytes(header + b"".join(variables))
    return path


@pytest.mark.parametrize("name", ["cuhk_sysu", "movienet_ps", "prw"])
def test_published_layouts_are_read_as_by_scipy(tmp_path, name):
    paths = list(WRITERS[name](tmp_path).rglob("*.mat"))
    assert len(paths) >= 6
    for path in paths:
        for variable, *_ in whosmat(path):
            assert_same(load_variable(path, variable), loadmat(path)[variable])


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize(
    "value",
    [
        *("", "abc", "ä€", "spaces  ", np.array(["ab", "c"]), np.array([["ab", "c"]])),
        *(np.array([True]), np.int64(-5), np.uint64(2**63), np.float32(2.5)),
        *(np.arange(24, dtype="i2").reshape(2, 3, 4), np.zeros((0, 3)), np.array([np.nan])),
        *(np.array([], dtype=object), cells([["a", 1], [np.zeros((2, 2)), cells([["b"]])]])),
        structs(("a", "b"), [(1, "x"), (structs(("c",), [(2,)]), cells([[3]]))]),
    ],
    ids=repr,
)
def test_values_of_each_kind_are_read_as_by_scipy(tmp_path, value, compressed):
    path = tmp_path / "a.mat"
    savemat(path, {"other": 3, "v": value, "last": "x"}, do_compression=compressed)
    assert_same(load_variable(path, "v"), loadmat(path)["v"])


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_files_of_both_byte_orders(tmp_path, order, packed):
    numbers = matrix(
        order, 6, (2, 2), element(order, 9, np.arange(4, dtype=order + "f8").tobytes())
    )
    encoding = "utf-16-le" if order == "<" else "utf-16-be"
    text = matrix(order, 4, (1, 3), element(order, 17, "aä€".encode(encoding)))
    names = element(order, 5, struct.pack(order + "i", 8)) + element(
        order, 1, b"box".ljust(8, b"\0") + b"name".ljust(8, b"\0")
    )
    variable = matrix(order, 2, (1, 1), names + numbers + text, b"v")
    if packed:
        data = zlib.compress(variable)
        variable = struct.pack(order + "II", 15, len(data)) + data
    path = write(tmp_path / "a.mat", order, variable)
    found = load_variable(path, "v")
    assert found["box"][0, 0].tolist() == [[0, 2], [1, 3]]
    assert found["name"][0, 0].tolist() == ["aä€"]
    assert found["box"][0, 0].tolist() == loadmat(path)["v"]["box"][0, 0].tolist()


def test_the_first_of_several_names_is_read(tmp_path):
    savemat(tmp_path / "a.mat", {"one": 1, "two": 2})
    assert load_variable(tmp_path / "a.mat", "none", "two", "one").tolist() == [[2]]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400), "version 7.3 .HDF5."),
        (b"\x89HDF\r\n\x1a\n" + bytes(400), "version 7.3 .HDF5."),
        (b"", "another header"),
        (bytes(200), "another header"),
    ],
)
def test_other_versions_are_named(tmp_path, content, fault):
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"a.mat: not a readable MATLAB file: .*{fault}.*5 to 7"):
        load_variable(path, "v")


@pytest.mark.parametrize(
    ("variable", "fault"),
    [
        (matrix("<", 5, (1, 1), b"", b"v"), "class 5; expected numbers"),
        (matrix("<", 6, (1, 1), b"", b"v", flags=0x800), "complex numbers"),
        (
            matrix("<", 1, (1 << 20, 1 << 20), b"", b"v"),
            "1099511627776 cells or structs in 0 bytes",
        ),
        (matrix("<", 6, (1 << 30, 1), element("<", 9, bytes(8)), b"v"), "cannot reshape"),
        (matrix("<", 4, (1, 9), element("<", 16, b"abc"), b"v"), "3 letters, expected 9"),
        (matrix("<", 6, (-1, 1), element("<", 9, bytes(8)), b"v"), "the dimensions .-1, 1."),
        (matrix("<", 6, (1, 1), element("<", 99, bytes(8)), b"v"), "numbers of type 99"),
        (struct.pack("<II", 14, 1 << 31) + matrix("<", 6, (1, 1), b"", b"v")[8:], "the limit is"),
    ],
)
def test_faults_of_a_variable_are_named(tmp_path, variable, fault):
    path = write(tmp_path / "a.mat", "<", variable)
    with pytest.raises(InputError, match=f"a.mat: not a readable MATLAB file: .*{fault}"):
        load_variable(path, "v")


def test_a_deep_nesting_is_refused(tmp_path):
    variable = matrix("<", 6, (1, 1), element("<", 9, bytes(8)))
    for _ in range(3000):
        variable = matrix("<", 1, (1, 1), variable)
    path = write(tmp_path / "a.mat", "<", matrix("<", 1, (1, 1), variable, b"v"))
    with pytest.raises(InputError, match="a.mat: not a readable MATLAB file: RecursionError"):
        load_variable(path, "v")


@pytest.mark.parametrize("compressed", [True, False])
def test_damaged_variables_raise_no_other_error(tmp_path, compressed):
    path, chance = tmp_path / "a.mat", random.Random(0)
    value = structs(("name", "box"), [("x.jpg", np.arange(4.0)), (cells([["y"]]), "z")])
    savemat(path, {"v": value}, do_compression=compressed)
    whole = path.read_bytes()
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(124, len(data))] = chance.randrange(256)
        path.write_bytes(data[: chance.choice((len(data), chance.randrange(len(data))))])
        try:
            load_variable(path, "v")
        except InputError as error:
            assert str(error).startswith(f"{path}: ")
