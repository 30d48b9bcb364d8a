"""Networks in ONNX files, run by ONNX Runtime: crops in, embeddings out.

Shape letters: R crops, D embedding width, h x w pixels of a crop.
"""

import importlib.util
from typing import Any

import numpy as np
import torch

from clsa_search.errors import InputError

_BATCH = 64  # crops at a time, to bound memory
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class ONNXNetwork:
    """A network that computes the embeddings of crops.

    An ONNX file is a program: ONNX Runtime runs its operations.

    Args:
        data: content of the file.
        path: name of the file in messages.
        output: name of the output with the embeddings; "" for the only one.
        device: where to run; a GPU needs the package onnxruntime-gpu, otherwise the CPU takes its
            place.

    Raises:
        InputError: ONNX Runtime is not installed or cannot read the file, or the network does not
            take crops.
    """

    def __init__(self, data: bytes, path: str, output: str = "", device: str = "cpu") -> None:
        self.path = path
        self._session = _open_session(data, path, device)
        self._output = self._find_output(output)
        self._input, self._batch, self.crop_size = self._read_input()

    def embed(self, crops: np.ndarray) -> np.ndarray:
        """Compute the embeddings (R, D) of normalized crops (R, 3, h, w), at least one.

        Raises:
            InputError: the network fails, or its output is no embedding per crop.
        """
        size = self._batch or _BATCH
        parts = [crops[start : start + size] for start in range(0, len(crops), size)]
        return np.concatenate([self._embed_batch(part) for part in parts])

    def _embed_batch(self, crops: np.ndarray) -> np.ndarray:
        count = len(crops)
        missing = (self._batch or count) - count
        batch = np.pad(crops, [(0, missing), (0, 0), (0, 0), (0, 0)])
        given = {self._input.name: np.ascontiguousarray(batch, _TYPES[self._input.type])}
        try:
            (output,) = self._session.run([self._output.name], given)
        except Exception as error:  # any fault of the runtime is the file's
            raise InputError(f"{self.path}: cannot be run: {_shorten(error)}") from error
        rows = np.asarray(output)
        if rows.ndim < 2 or len(rows) != len(batch) or rows.size != len(rows) * rows.shape[1]:
            raise InputError(
                f"{self.path}: its output {self._output.name!r} has shape {rows.shape} for "
                f"{len(batch)} crops; expected ({len(batch)}, D), an embedding per crop"
            )
        return rows.reshape(len(rows), -1)[:count].astype(np.float32)

    def _find_output(self, name: str) -> Any:
        outputs = self._session.get_outputs()
        found = [output for output in outputs if name in ("", output.name)]
        if len(found) != 1:
            raise InputError(
                f"{self.path}: has the outputs {', '.join(output.name for output in outputs)}; "
                "expected the name of the one with the embeddings: --reid-output NAME"
            )
        return found[0]

    def _read_input(self) -> tuple[Any, int | None, tuple[int | None, int | None]]:
        """Return the input, its number of crops and (h, w), None where they are free."""
        inputs = self._session.get_inputs()
        shape = list(inputs[0].shape) if len(inputs) == 1 else []
        if len(shape) != 4 or shape[1] not in (3, None) and not isinstance(shape[1], str):
            found = "; ".join(f"{x.name} {x.shape}" for x in inputs) or "none"
            raise InputError(
                f"{self.path}: has the inputs: {found}; expected one of shape (R, 3, h, w), crops"
            )
        if inputs[0].type not in _TYPES:
            raise InputError(
                f"{self.path}: its input {inputs[0].name!r} is of {inputs[0].type}; expected "
                f"{' or '.join(_TYPES)}"
            )
        batch, _, height, width = (size if isinstance(size, int) else None for size in shape)
        return inputs[0], batch, (height, width)


def read_onnx_file(path: str) -> bytes:
    """Read an ONNX file, with the weights that it keeps in files beside it.

    Raises:
        InputError: the file cannot be read, is no ONNX file, or lacks such weights.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if importlib.util.find_spec("onnx") is None:
        return data
    import onnx

    try:
        complete = onnx.load(path)
        alone = onnx.load(path, load_external_data=False)
        return data if alone == complete else complete.SerializeToString()
    except Exception as error:  # any fault of the decoder is the file's
        raise InputError(f"{path}: not a readable ONNX file: {_shorten(error)}") from error


def _open_session(data: bytes, path: str, device: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"{path}: needs the package onnxruntime; install it: pip install onnxruntime"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # its warnings are about the graph, not for the user
    providers: list = ["CPUExecutionProvider"]
    chosen = torch.device(device)
    if chosen.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": chosen.index or 0}))
    try:
        return onnxruntime.InferenceSession(data, options, providers=providers)
    except Exception as error:  # any fault of the decoder is the file's
        raise InputError(
            f"{path}: not a readable ONNX network: {_shorten(error)}; expected all weights in "
            "the file, as `clsa-convert-weights` writes it"
        ) from error


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
