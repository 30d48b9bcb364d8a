"""Reading checkpoint files of others: tensors, arrays and plain values, never their code.

NumPy's own functions are no safe ground for a pickle: an array of objects over bytes of the file's
choice reads memory of the file's choice. Stand-ins take their place, which know numbers alone.
"""

import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch

from clsa_search.errors import InputError


class _Dtype:
    """numpy.dtype of a number."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: tuple) -> None:
        self.code = state[1].strip("|") + self.code  # the byte order

    def build(self) -> np.dtype:
        dtype = np.dtype(self.code)
        if dtype.kind not in "biuf":
            raise pickle.UnpicklingError(f"an array of {dtype}")
        return dtype


class _Array:
    """numpy.ndarray; its state is what `ndarray.__reduce__` documents."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        self.build(data, dtype, shape, "F" if fortran else "C")

    def build(self, data: bytes | str, dtype: _Dtype, shape: tuple, order: str) -> None:
        data = data.encode("latin1") if isinstance(data, str) else data  # text: Python 2 wrote it
        array = np.frombuffer(data, dtype.build()).reshape(shape, order=order)
        self.value = array.astype(array.dtype.newbyteorder("="))


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _from_buffer(data: bytes, dtype: _Dtype, shape: tuple, order: str) -> _Array:
    array = _Array()
    array.build(data, dtype, shape, order)
    return array


def _scalar(dtype: _Dtype, data: bytes | str) -> _Array:
    return _from_buffer(data, dtype, (), "C")


def _encode(text: str, _: str) -> bytes:
    return text.encode("latin1")


_STAND_INS = {
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _Array,
    "_codecs.encode": _encode,  # bytes in pickles of protocol 2, and those of length 0
    "__builtin__.bytes": bytes,
}
for _core in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
    _STAND_INS[f"{_core}.multiarray._reconstruct"] = _reconstruct
    _STAND_INS[f"{_core}.multiarray.scalar"] = _scalar
    _STAND_INS[f"{_core}.numeric._frombuffer"] = _from_buffer


class _Unpickler(pickle.Unpickler):
    """Finds nothing but the stand-ins."""

    def find_class(self, module: str, name: str) -> Callable:
        known = {"collections.OrderedDict": OrderedDict, **_STAND_INS}
        if f"{module}.{name}" not in known:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
        return known[f"{module}.{name}"]


def read_checkpoint(path: str) -> dict:
    """What a checkpoint holds: .pkl as Detectron2 and Caffe2 write them, all others as torch does.

    Raises:
        InputError: the file is missing, broken or not a dict, or holds an object that is rebuilt by
            calling code of its choice; that code is not run.
    """
    if not os.path.isfile(path):
        raise InputError(f"checkpoint {path!r} does not exist")
    try:
        loaded = _with_arrays(_read_pickle(path) if path.endswith(".pkl") else _read_torch(path))
    except Exception as error:  # what a broken pickle or archive raises has no other base
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code is None:
            raise InputError(f"{path}: not a checkpoint that can be read: {error}") from error
        raise InputError(
            f"{path}: refused, because to read it is to call {code[1]}, and a checkpoint of others "
            "must not run code; if you trust the file, save its tensors alone with torch.save"
        ) from error
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: holds a {type(loaded).__name__}; expected a dict of tensors")
    return loaded


def _read_pickle(path: str) -> object:
    with open(path, "rb") as file:
        return _Unpickler(file, encoding="latin1").load()


def _read_torch(path: str) -> object:
    # arrays, and accuracies as NumPy scalars, often ride along; torch 2.5 knows no second names
    stand_ins = [(stand_in, name) for name, stand_in in _STAND_INS.items()]
    named = torch.__version__ >= (2, 6)
    with torch.serialization.safe_globals(stand_ins) if named else nullcontext():
        return torch.load(path, map_location="cpu", weights_only=True)


def _with_arrays(value: object) -> object:
    """The same, changed where it holds stand-ins, with arrays in their place."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            value[key] = _with_arrays(inner)
    return value.value if isinstance(value, _Array) else value
