"""Read checkpoint files of other projects: tensors, arrays and plain values, but never code.

NumPy's own functions are not safe for a pickle: an array of objects over bytes of the file can read
any memory. Stand-ins replace them, and accept arrays of numbers only.
"""

import os
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from clsa_search.errors import InputError

_EXPECTED = "expected tensors, as torch.save(network.state_dict(), path) of its project writes them"


class _Dtype:
    """A stand-in for numpy.dtype of numbers."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: tuple) -> None:
        self.code = state[1].strip("|") + self.code  # byte order

    def build(self) -> np.dtype:
        """Return the dtype."""
        dtype = np.dtype(self.code)
        if dtype.kind not in "biuf":
            raise pickle.UnpicklingError(f"array of {dtype}")
        return dtype


class _Array:
    """A stand-in for numpy.ndarray, with the state of `ndarray.__reduce__`."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        self.build(data, dtype, shape, "F" if fortran else "C")

    def build(self, data: bytes | str, dtype: _Dtype, shape: tuple, order: str) -> None:
        """Build the array from its bytes, or from text of Python 2."""
        raw = data.encode("latin1") if isinstance(data, str) else data
        array = np.frombuffer(raw, dtype.build()).reshape(shape, order="F" if order == "F" else "C")
        self.value = array.astype(array.dtype.newbyteorder("="))


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _from_buffer(data: bytes | str, dtype: _Dtype, shape: tuple, order: str) -> _Array:
    array = _Array()
    array.build(data, dtype, shape, order)
    return array


def _scalar(dtype: _Dtype, data: bytes | str) -> _Array:
    return _from_buffer(data, dtype, (), "C")


def _encode(text: str, _: str) -> bytes:
    return text.encode("latin1")


_STAND_INS: dict[str, Callable] = {
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _Array,
    "_codecs.encode": _encode,  # bytes in pickles of protocol 2, and empty bytes
    "__builtin__.bytes": bytes,
}
for _core in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
    _STAND_INS[f"{_core}.multiarray._reconstruct"] = _reconstruct
    _STAND_INS[f"{_core}.multiarray.scalar"] = _scalar
    _STAND_INS[f"{_core}.numeric._frombuffer"] = _from_buffer


class _Unpickler(pickle.Unpickler):
    """An unpickler with nothing but the stand-ins."""

    def find_class(self, module: str, name: str) -> Callable:
        """Return a stand-in, or refuse the name."""
        known: dict[str, Callable] = {"collections.OrderedDict": OrderedDict, **_STAND_INS}
        if f"{module}.{name}" not in known:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
        return known[f"{module}.{name}"]


def read_checkpoint(path: str) -> dict:
    """Read a checkpoint: .pkl as Detectron2 and Caffe2 write it, any other suffix as torch does.

    Raises:
        InputError: the file is missing, broken or not a dict, or an object in it is rebuilt by code
            of the file; this code is not run.
    """
    if not os.path.isfile(path):
        raise InputError(f"checkpoint {path!r} does not exist")
    if _is_program(path):
        raise InputError(
            f"{path}: refused, because it is a TorchScript archive: a program, and a checkpoint "
            f"must not run code; {_EXPECTED}"
        )
    if path.lower().endswith(".onnx"):
        raise InputError(f"{path}: an ONNX file has no place here; expected it as --reid")
    try:
        loaded = _replace_stand_ins(
            _read_pickle(path) if path.endswith(".pkl") else _read_torch(path)
        )
    except Exception as error:  # errors of broken pickles and archives have no other base
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code is None:
            raise InputError(
                f"{path}: not a readable checkpoint: {_shorten(str(error))}; {_EXPECTED}"
            ) from error
        raise InputError(
            f"{path}: refused, because reading it would call {code[1]}, and a checkpoint must not "
            "run code; if you trust the file, save only its tensors with torch.save"
        ) from error
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: holds a {type(loaded).__name__}; expected a dict of tensors")
    return loaded


def check_finite(path: str, tensors: Mapping[str, object]) -> None:
    """Check that all tensors and arrays are plain ones of finite numbers.

    Raises:
        InputError: one of them is sparse, quantized or nested, is of a type without arithmetic, or
            holds NaN or an infinity.
    """
    for name, value in tensors.items():
        tensor = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        if not isinstance(tensor, torch.Tensor):
            continue
        if form := _name_form(tensor):
            raise InputError(f"{path}: {name!r} is a {form} tensor; expected plain weights")
        if not _is_finite(tensor):
            raise InputError(
                f"{path}: {name!r} holds NaN or infinity; expected finite weights: the training "
                "diverged, or the file is damaged"
            )


def _shorten(reason: str) -> str:
    """Return the reason in a message of torch, without its advice to switch safety off."""
    if "weights_only" not in reason:
        return reason
    found = re.search(r"WeightsUnpickler error: ([^\n]+)", reason)
    return found[1].strip() if found else "it holds more than tensors and plain values"


def _name_form(tensor: torch.Tensor) -> str:
    """Return in which form a tensor is that is not plain, or ""."""
    forms = {
        "nested": tensor.is_nested,
        "quantized": tensor.is_quantized,
        "meta": tensor.is_meta,
        "sparse": tensor.layout != torch.strided,
        f"packed ({tensor.dtype})": not _can_convert(tensor.dtype),
    }
    return next((form for form, is_so in forms.items() if is_so), "")


def _can_convert(dtype: torch.dtype) -> bool:
    try:
        torch.empty(1, dtype=dtype).to(torch.complex64)
    except RuntimeError:  # packed numbers below a byte
        return False
    return True


def _is_finite(tensor: torch.Tensor) -> bool:
    # not every small type knows isfinite; all of them fit into float32
    return bool((tensor.float() if tensor.element_size() == 1 else tensor).isfinite().all())


def _is_program(path: str) -> bool:
    """Return whether a file is an archive of TorchScript."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except Exception:  # most checkpoints of old versions are no archives
        return False


def _read_pickle(path: str) -> object:
    with open(path, "rb") as file:
        return _Unpickler(file, encoding="latin1").load()


def _read_torch(path: str) -> object:
    # training codes often add arrays, and NumPy scalars such as an accuracy
    stand_ins: list[Any] = [(stand_in, name) for name, stand_in in _STAND_INS.items()]
    takes_names = torch.__version__ >= "2.6"
    with torch.serialization.safe_globals(stand_ins) if takes_names else nullcontext():
        return torch.load(path, map_location="cpu", weights_only=True)


def _replace_stand_ins(value: Any) -> Any:
    """Replace stand-ins by their arrays, in place."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            value[key] = _replace_stand_ins(inner)
    return value.value if isinstance(value, _Array) else value
