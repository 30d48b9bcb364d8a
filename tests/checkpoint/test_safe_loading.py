"""Reading checkpoints of other projects: equal arrays, and no code of the file."""

import os
import pickle
import random

import numpy as np
import pytest
import torch

from clsa_search.checkpoint.safe_loading import read_checkpoint
from clsa_search.errors import InputError


class Call:
    """An object of a pickle that is rebuilt by a function call."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
def test_code_in_a_checkpoint_is_not_run(tmp_path, suffix):
    path, victim = tmp_path / f"evil{suffix}", tmp_path / "made"
    checkpoint = {"model": {"conv1_w": Call(os.mkdir, str(victim))}}
    save = torch.save if suffix == ".pth" else lambda what, to: to.write_bytes(pickle.dumps(what))
    save(checkpoint, path)
    with pytest.raises(InputError, match=r"evil.*refused, because reading it would call \w+.mkdir"):
        read_checkpoint(str(path))
    assert not victim.exists()
    # NumPy itself would read these bytes as a pointer
    save({"a": Call(np.ndarray, (1,), np.dtype("O"), b"pointers")}, path)
    with pytest.raises(InputError, match="evil.*not a readable checkpoint"):
        read_checkpoint(str(path))


@pytest.mark.parametrize("content", [b"\x08\x09 network", b"text", pickle.dumps([1]), b""])
def test_other_files_are_refused_without_advice_to_run_code(tmp_path, content):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a.pth: .*expected") as raised:
        read_checkpoint(str(path))
    assert "weights_only" not in str(raised.value) and "\n" not in str(raised.value)
    path.rename(tmp_path / "a.onnx")
    with pytest.raises(InputError, match=r"a.onnx: an ONNX file .* expected it as --reid"):
        read_checkpoint(str(tmp_path / "a.onnx"))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickled_arrays_are_read_unchanged(tmp_path, protocol):
    grid = np.arange(6, dtype=np.float32).reshape(2, 3)
    arrays = {"c": grid, "fortran": np.asfortranarray(grid), "big": grid.astype(">f4")}
    arrays |= {"one": np.float64(0.5), "empty": np.zeros((0, 2)), "int": np.array(3)}
    data = pickle.dumps({"model": arrays}, protocol=protocol)
    files = [data] if protocol > 2 else [data, data.replace(b"numpy._core", b"numpy.core")]
    for data in files:
        (tmp_path / "a.pkl").write_bytes(data)
        for name, array in read_checkpoint(str(tmp_path / "a.pkl"))["model"].items():
            np.testing.assert_array_equal(array, arrays[name])
            assert array.dtype == arrays[name].dtype.newbyteorder("=")


def test_text_pickles_of_python_2_are_read(tmp_path):
    # text of Python 2 for {"a": np.array([1.0, -2.0], "<f4")}, protocol 0 to 2 alike
    text = (
        b"}S'a'\ncnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I2\ntcnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
        b"I00\nS'\\x00\\x00\\x80?\\x00\\x00\\x00\\xc0'\ntbs."
    )
    (tmp_path / "a.pkl").write_bytes(text)
    np.testing.assert_array_equal(read_checkpoint(str(tmp_path / "a.pkl"))["a"], [1.0, -2.0])


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
def test_damaged_checkpoints_raise_no_other_error(tmp_path, suffix):
    path, rng = tmp_path / f"a{suffix}", random.Random(0)
    content = {"model": {"a": np.arange(6.0), "b": np.float32([[1, 2]])}, "names": ["x", None]}
    if suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save({"model": {"a": torch.arange(6.0)}, "names": ["x"]}, path)
    whole = path.read_bytes()
    for _ in range(300):
        data = bytearray(whole)
        place = rng.randrange(len(data))
        if rng.random() < 0.8:
            data[place] = rng.randrange(256)
        else:
            del data[place : place + rng.choice([1, 8, len(data)])]
        path.write_bytes(data)
        try:
            read_checkpoint(str(path))
        except InputError as error:
            assert str(path) in str(error)
