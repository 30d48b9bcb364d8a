"""The reader of large MATLAB files agrees with SciPy's reader."""

import random
import struct
import zlib

import numpy as np
import pytest
from scipy.io import loadmat

from clsa_search.data.datasets.mat_file import iterate_structs, load_variable
from clsa_search.data.datasets.mat_table import Table
from clsa_search.data.datasets.ssm_mat import SearchFile, read_searches
from clsa_search.errors import InputError
from tests.support.published_datasets import (
    BOX_FIELDS,
    EMPTY,
    box_struct,
    cells,
    search_rows,
    structs,
    write_mat,
)

PERSON = ("p1", ("a.jpg", (1, 2, 30, 40)))


def read(path, variable="TestG"):
    def parse(element):
        found = Table(element["Gallery"])
        return found.texts("imname").tolist(), found.arrays("idlocate")

    return list(iterate_structs(path, variable, parse))


def element(kind, data):
    """Return an element as MATLAB writes it, a small one in one word of 8 bytes."""
    if 0 < len(data) <= 4:
        return struct.pack("<HH", kind, len(data)) + data.ljust(4, b"\0")
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def matrix(kind, dimensions, contents, name=b""):
    flags = element(6, struct.pack("<II", kind, 0))
    body = flags + element(5, struct.pack("<2i", *dimensions)) + element(1, name) + contents
    return struct.pack("<II", 14, len(body)) + body


def table(fields, count, contents, name=b""):
    names = b"".join(field.encode().ljust(16, b"\0") for field in fields)
    sizes = element(5, struct.pack("<i", 16)) + element(1, names)
    return matrix(2, (1, count), sizes + contents, name)


def write_like_matlab(path, names, compressed):
    """Write a gallery without boxes, with names in UTF-16, behind another variable."""
    rows = b"".join(
        matrix(4, (1, len(name)), element(4, name.encode("utf-16-le")))
        + struct.pack("<II", 14, 0)  # a field never set
        for name in names
    )
    gallery = table(("imname", "idlocate"), len(names), rows)
    variables = [
        matrix(9, (1, 2), element(2, b"\x05\x06"), b"other"),
        table(("Gallery",), 1, gallery, b"TestG"),
    ]
    if compressed:
        packed = [zlib.compress(variable) for variable in variables]
        variables = [struct.pack("<II", 15, len(data)) + data for data in packed]
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + b"".join(variables))


@pytest.mark.parametrize("compressed", [True, False])
def test_galleries_are_read_as_by_scipy(tmp_path, compressed):
    path = tmp_path / "a.mat"
    found = [("s1.jpg", (200, 100, 100, 60)), ("a_long_name.jpg", (1.5, 2, 3, 4))]
    # 14 and 0 as uint16 look like the tag of a matrix
    found += [("s2.jpg", (14, 0, 300, 301)), ("s.j", (-3, 4, 300, 5))]
    write_mat(path, "TestG", search_rows([(*PERSON, found, ["s1.jpg", "s777.jpg"])]), compressed)
    ((names, boxes),) = read(path)
    rows = loadmat(path)["TestG"][0, 0]["Gallery"].ravel()
    assert [name.decode() for name in names] == [row["imname"][0] for row in rows]
    expected = {i: row["idlocate"].ravel() for i, row in enumerate(rows) if row["idlocate"].size}
    assert boxes.keys() == expected.keys() == {0, 1, 2, 3}
    for row, box in boxes.items():
        np.testing.assert_array_equal(box, expected[row])


@pytest.mark.parametrize("compressed", [True, False])
def test_files_written_by_matlab(tmp_path, compressed):
    """Names are in UTF-16, short names in their tag, and some fields have no matrix."""
    path = tmp_path / "a.mat"
    names = ["s1.jpg", "s", "a_long_name.jpg", "ab"]
    write_like_matlab(path, names, compressed)
    assert read(path) == [([name.encode() for name in names], {})]
    assert [row[0][0] for row in loadmat(path)["TestG"][0, 0]["Gallery"].ravel()] == names


def test_cells_are_read_as_structs(tmp_path):
    gallery = [("a.jpg", (1, 2, 3, 4))]
    for name, make in (("structs", structs), ("cells", cells)):
        rows = search_rows([(*PERSON, gallery, ["b.jpg", "c.jpg"])], make_gallery=make)
        write_mat(tmp_path / f"{name}.mat", "TestG", rows)
    ((names, boxes),) = read(tmp_path / "cells.mat")
    assert names == [b"a.jpg", b"b.jpg", b"c.jpg"] and boxes[0].tolist() == [1, 2, 3, 4]
    assert read(tmp_path / "structs.mat")[0][0] == names


def test_a_long_array_is_read_in_pieces(tmp_path):
    """Read more than the reader decompresses at once."""
    rng = np.random.default_rng(0)
    searches = [
        (*PERSON, [], [f"{name:020d}.jpg" for name in rng.integers(0, 10**15, 400)])
        for _ in range(30)
    ]
    write_mat(tmp_path / "a.mat", "TestG", search_rows(searches))
    assert [[n.decode() for n in names] for names, _ in read(tmp_path / "a.mat")] == [
        search[3] for search in searches
    ]


def test_faults_are_named(tmp_path):
    path = tmp_path / "a.mat"
    with pytest.raises(InputError, match="a.mat: no such file.*datasets/README.md"):
        read(path)
    with pytest.raises(InputError, match="a.mat: no such file"):
        load_variable(path, "Img")
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"x" * 99)
    with pytest.raises(InputError, match="a.mat: not readable.*version 5"):
        read(path)
    with pytest.raises(InputError, match="a.mat: not a readable MATLAB file"):
        load_variable(path, "Img")
    write_mat(path, "TestG", search_rows([(*PERSON, [], ["b.jpg"])]))
    with pytest.raises(InputError, match="no variable 'TestG50'"):
        read(path, "TestG50")
    with pytest.raises(InputError, match="no variable 'box_new' or 'anno_file'"):
        load_variable(path, "box_new", "anno_file")
    with pytest.raises(InputError, match="KeyError 'Queries'"):
        list(iterate_structs(path, "TestG", lambda element: element["Queries"]))


@pytest.mark.parametrize("compressed", [True, False])
def test_a_file_that_ends_early(tmp_path, compressed):
    path = tmp_path / "a.mat"
    write_mat(path, "TestG", search_rows([(*PERSON, [], ["b.jpg"] * 9)] * 9), compressed)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="a.mat: not readable"):
        read(path)


@pytest.mark.parametrize(
    ("query", "gallery"),
    [
        (("a.jpg", (1, 2, 3)), [box_struct("b.jpg", None)]),
        (("a.jpg", None), [box_struct("b.jpg", None)]),
        (("a.jpg", (1, 2, 3, 4)), [(cells([["b.jpg"]]), EMPTY, EMPTY)]),
    ],
)
def test_other_contents_than_searches_are_refused(tmp_path, query, gallery):
    person = structs((*BOX_FIELDS, "idname"), [(*box_struct(*query), "p")])
    rows = structs(("Query", "Gallery"), [(person, structs(BOX_FIELDS, gallery))])
    write_mat(tmp_path / "a.mat", "TestG", rows)
    with pytest.raises(InputError, match="a.mat: not readable.*'TestG'"):
        list(read_searches(SearchFile(tmp_path / "a.mat", "TestG")))


@pytest.mark.parametrize("compressed", [True, False])
def test_damaged_files_raise_no_other_error(tmp_path, compressed):
    path, rng = tmp_path / "a.mat", random.Random(0)
    write_mat(path, "TestG", search_rows([(*PERSON, [PERSON[1]], ["b.jpg"] * 9)] * 2), compressed)
    whole = path.read_bytes()
    for _ in range(600):
        data = bytearray(whole)
        place = rng.randrange(124, len(data))
        if rng.random() < 0.8:
            data[place] = rng.randrange(256)
        else:
            del data[place : place + rng.choice([1, 8, len(data)])]
        path.write_bytes(data)
        try:
            list(read_searches(SearchFile(path, "TestG")))
        except InputError as error:
            assert str(error).startswith(f"{path}: ")
