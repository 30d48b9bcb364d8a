"""Describers to the bytes of a file, and back to something that computes."""

import importlib
import io
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch

from clsa_search.errors import InputError
from clsa_search.export.exportable import CropEmbedder, ImagePredictor

ABOUT_FILE = "about.json"
"""The name of what a TorchScript file says of itself, among its extra files."""

COUNTED = ("detectron2.modeling.roi_heads.fast_rcnn", "clsa_search.modeling.person_search_rcnn")
"""Modules whose len() counts people."""

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")

Describer = CropEmbedder | ImagePredictor


def to_torchscript(describer: Describer, about: dict[str, str]) -> bytes:
    """A file for `torch.jit.load`, with `about` as JSON in its extra file ABOUT_FILE."""
    with torch.no_grad(), _counts_in_the_trace(), warnings.catch_warnings():
        # what they warn of is compared with the eager model afterwards
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        network = torch.jit.trace(describer.network, describer.example(), check_trace=False)
    buffer = io.BytesIO()
    scripted = torch.jit.script(describer.with_network(network))
    torch.jit.save(scripted, buffer, _extra_files={ABOUT_FILE: json.dumps(about)})
    return buffer.getvalue()


def load_torchscript(data: bytes) -> Callable[[torch.Tensor], torch.Tensor | tuple]:
    return torch.jit.load(io.BytesIO(data))


def to_onnx(describer: CropEmbedder, about: dict[str, str]) -> bytes:
    """An ONNX file with `crops` (people, 3, h, w) float32 to `embeddings`; `about` as metadata."""
    import onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's, of its own internals
        program = torch.onnx.export(
            describer,
            describer.example(),
            dynamo=True,
            verbose=False,
            input_names=["crops"],
            output_names=["embeddings"],
            dynamic_shapes=({0: torch.export.Dim("people")},),
        )
    proto = program.model_proto
    onnx.helper.set_model_props(proto, about)
    return proto.SerializeToString()


def load_onnx(data: bytes) -> Callable[[torch.Tensor], torch.Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return lambda crops: torch.from_numpy(session.run(None, {"crops": crops.numpy()})[0])


def check_onnx_packages() -> None:
    """
    Raises:
        InputError: a package that ONNX needs cannot be imported.
    """
    for name in ONNX_PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(
                f"the format onnx needs the package {name}, which cannot be imported ({error}); "
                f"install {', '.join(ONNX_PACKAGES)}"
            ) from error


@contextmanager
def _counts_in_the_trace() -> Iterator[None]:
    """len() of boxes becomes part of a trace, where Python's would leave a constant.

    As `patch_builtin_len` of detectron2.export, which cannot be imported with Detectron2 0.6 where
    Caffe2 is missing.
    """
    with ExitStack() as stack:
        for module in COUNTED:
            stack.enter_context(mock.patch(f"{module}.len", lambda counted: counted.__len__()))
        yield
