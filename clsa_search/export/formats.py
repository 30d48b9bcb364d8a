"""File formats: exportable modules to bytes, and bytes to callables."""

import importlib
import io
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from torch import nn

from clsa_search.errors import InputError
from clsa_search.export.exportable import CropEmbedder, Exportable
from clsa_search.modeling.staged_backbone import STAGES, StagedBackbone

ABOUT_FILE = "about.json"
"""Name of the description among the extra files of a TorchScript file."""

MODULES_WITH_LEN = (
    "detectron2.modeling.roi_heads.fast_rcnn",
    "clsa_search.modeling.person_search_rcnn",
)
"""Modules that call len() on boxes or detections."""

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")

Loaded = Callable[[torch.Tensor], torch.Tensor | tuple[torch.Tensor, ...]]


def to_torchscript(module: Exportable, about: dict[str, str]) -> bytes:
    """Return the content of a file for `torch.jit.load`, with `about` as JSON in ABOUT_FILE."""
    with torch.no_grad(), _traced_len(), _scripted_stages(module), warnings.catch_warnings():
        # the exporter checks the traced results against the eager ones
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        network = torch.jit.trace(module.network, module.example(), check_trace=False)
    buffer = io.BytesIO()
    scripted = torch.jit.script(module.with_network(network))
    torch.jit.save(scripted, buffer, _extra_files={ABOUT_FILE: json.dumps(about)})
    return buffer.getvalue()


def load_torchscript(data: bytes) -> Loaded:
    """Load the content of a TorchScript file."""
    return torch.jit.load(io.BytesIO(data))


def to_onnx(module: CropEmbedder, about: dict[str, str]) -> bytes:
    """Return the content of an ONNX file.

    Its input is `crops` (any number, 3, h, w) float32, its output `embeddings`; `about` is its
    metadata.
    """
    import onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch warns of its own internals
        program = torch.onnx.export(
            module,
            module.example(),
            dynamo=True,
            verbose=False,
            input_names=["crops"],
            output_names=["embeddings"],
            dynamic_shapes=({0: torch.export.Dim("crops")},),
        )
    assert program is not None  # always a program with dynamo=True
    proto = program.model_proto
    onnx.helper.set_model_props(proto, about)
    return proto.SerializeToString()


def load_onnx(data: bytes) -> Loaded:
    """Load the content of an ONNX file to run on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return lambda crops: torch.from_numpy(session.run(None, {"crops": crops.numpy()})[0])


def check_onnx_packages() -> None:
    """Check that all packages for ONNX can be imported.

    Raises:
        InputError: a package is missing.
    """
    for name in ONNX_PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(
                f"the format onnx needs the package {name}, and importing it failed ({error}); "
                f"install {', '.join(ONNX_PACKAGES)}"
            ) from error


@contextmanager
def _traced_len() -> Iterator[None]:
    """Make len() of boxes part of a trace; Python's own len() would become a constant.

    `patch_builtin_len` of detectron2.export does the same, but Detectron2 0.6 cannot import that
    module without Caffe2.
    """
    with ExitStack() as stack:
        for module in MODULES_WITH_LEN:
            patch = mock.patch(f"{module}.len", lambda sized: sized.__len__())
            stack.enter_context(patch)
        yield


@contextmanager
def _scripted_stages(module: nn.Module) -> Iterator[None]:
    """Script the stages of each Swin; a trace would keep the windows of the example's size."""
    stages = [
        (backbone, name, stage)
        for backbone in module.modules()
        if isinstance(backbone, StagedBackbone) and backbone.is_channels_last
        for name, stage in backbone.named_children()
        if name in STAGES
    ]
    try:
        for backbone, name, stage in stages:
            setattr(backbone, name, torch.jit.script(stage))
        yield
    finally:
        for backbone, name, stage in stages:
            setattr(backbone, name, stage)
