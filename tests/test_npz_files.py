"""Archives of arrays: other forms of equal content, damage, and sizes that cannot be true."""

import io
import random
import zipfile

import numpy as np
import pytest
from numpy.lib import format as npy

from clsa_search.errors import InputError
from clsa_search.npz_files import read_arrays

ARRAYS = {
    "ids": np.array(["a", "größe"]),
    "numbers": np.arange(6, dtype=np.float32).reshape(2, 3),
    "none": np.zeros((0, 5), np.float32),
    "no_text": np.array([], dtype=np.str_),
    "one": np.array(3),
}


def assert_equal(found):
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape and found[name].flags.c_contiguous


def write_entry(path, name, content, **options):
    """Write an archive with one entry."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr(name, content)


def header(shape, descr="<f4"):
    """Return an `.npy` stream without its values."""
    stream = io.BytesIO()
    npy.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_in_any_order_of_memory(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS | {"numbers": np.asfortranarray(ARRAYS["numbers"])})
    assert_equal(read_arrays(tmp_path / "a.npz"))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_archives_are_refused_or_unchanged(tmp_path, save):
    """Change, cut and insert bytes: no other error, and never other values."""
    path, rng = tmp_path / "a.npz", random.Random(0)
    save(path, **ARRAYS)
    whole = path.read_bytes()
    for _ in range(600):
        data = bytearray(whole)
        place = rng.randrange(len(data))
        kind = rng.choice(["change", "change", "cut", "insert"])
        if kind == "change":
            data[place] = rng.randrange(256)
        elif kind == "cut":
            del data[place : place + rng.choice([1, 8, len(data)])]
        else:
            data[place:place] = rng.randbytes(rng.choice([1, 8]))
        path.write_bytes(data)
        try:
            assert_equal(read_arrays(path))
        except InputError as error:
            assert str(error).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.npy", header((10**14,))),
        ("a.npy", header((10**14,), "<U0")),  # of no bytes each
        ("a.npy", header((10**10, 10**10))),
        ("a.npy", header((-1,)) + b"\0" * 4),
        ("a.npy", header((1,)) + b"\0" * 8),
        ("a.npy", header((1,), "|O") + b"\0" * 8),
        ("a.npy", header((1,), "|V8") + b"\0" * 8),
        ("a.npy", header((1,)).replace(b"\x93NUMPY\x01", b"\x93NUMPY\x03") + b"\0" * 4),
        ("a.npy", header((1,)).replace(b"(1,)", b"((((") + b"\0" * 4),
        ("a.npy", b""),
        ("a.txt", b"text"),
    ],
)
def test_entries_that_hold_no_such_array(tmp_path, name, content):
    write_entry(tmp_path / "a.npz", name, content)
    with pytest.raises(InputError, match="a.npz: not a readable .npz archive: ."):
        read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("offset", [6, 8])  # of flags and method behind the mark of an entry
def test_encrypted_entries_and_unknown_compression(tmp_path, offset):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros(3))
    data = bytearray(path.read_bytes())
    data[offset] = data[data.index(b"PK\1\2") + 2 + offset] = 99
    path.write_bytes(data)
    with pytest.raises(InputError, match="a.npz: not a readable .npz archive: ."):
        read_arrays(path)


def test_an_archive_that_would_fill_the_memory(tmp_path):
    """A third of a gigabyte of zeros is 330 kB when it is compressed."""
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("a.npy", "w") as stream:
            stream.write(header((10, 8 << 20)))
            for _ in range(10):
                stream.write(bytes(32 << 20))
    with pytest.raises(InputError, match="a.npz: .*claims to hold 335,544,448 bytes; expected at"):
        read_arrays(path)


def test_entries_of_one_name(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a.npy", header((0,)))
        archive.writestr("a.npy", header((0,)))
    with pytest.raises(InputError, match="two entries of one name"):
        read_arrays(path)
