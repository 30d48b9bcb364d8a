"""Export of a checkpoint to a file with the same results as the eager model."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from clsa_search import __version__
from clsa_search.atomic_io import replace_file
from clsa_search.data.image_io import read_image
from clsa_search.engine.trained_model import TrainedModel, load_trained_model
from clsa_search.errors import InputError
from clsa_search.export import formats
from clsa_search.export.choices import EXPORT_NAMES, FORMAT_NAMES
from clsa_search.export.exportable import CropEmbedder, Exportable, ImagePredictor
from clsa_search.modeling import ONNXBranch
from clsa_search.output_checks import check_output_file, reported_writes

EXPORTS: dict[str, type[Exportable]] = dict(
    zip(EXPORT_NAMES, (CropEmbedder, ImagePredictor), strict=True)
)

FORMATS: dict[str, tuple[Callable[..., bytes], Callable[[bytes], formats.Loaded]]] = dict(
    zip(
        FORMAT_NAMES,
        (
            (formats.to_torchscript, formats.load_torchscript),
            (formats.to_onnx, formats.load_onnx),
        ),
        strict=True,
    )
)
"""Functions to write and to load each format."""

TOLERANCE = 1e-3
"""Largest accepted difference from the eager model, as measured by `compare`."""

CROP_COUNTS = (0, 1, 2, 5)
IMAGE_SIZES = ((120, 160), (200, 90), (64, 64))  # height, width


@dataclass(frozen=True)
class ExportReport:
    """A written file and its comparison with the eager model.

    Args:
        path: path of the file.
        about: description inside the file.
        inputs: number of compared inputs.
        embeddings: number of compared embeddings over all inputs.
        difference: largest difference from the eager model, see `compare`.
    """

    path: Path
    about: dict[str, str]
    inputs: int
    embeddings: int
    difference: float


def export_model(
    weights: str | os.PathLike,
    path: str | os.PathLike,
    *,
    what: str,
    file_format: str,
    config_file: str | os.PathLike | None = None,
    opts: Sequence = (),
    images: Sequence[str | os.PathLike] = (),
) -> ExportReport:
    """Export a trained model, and write the file only if it agrees with the eager model.

    The whole model runs on MODEL.DEVICE only; the re-ID branch is exported on the CPU and can be
    moved.

    Args:
        weights: see `load_trained_model`.
        path: file to write; its folder is created.
        what: "reid" (`CropEmbedder`) or "model" (`ImagePredictor`).
        file_format: "torchscript", or "onnx" for the re-ID branch.
        config_file: see `load_trained_model`.
        opts: see `load_trained_model`.
        images: image files to compare the whole model on, in addition to noise.

    Raises:
        InputError: the model cannot be loaded or exported this way, an image cannot be read, a
            package is missing, or the file cannot be written.
        RuntimeError: the export differs from the eager model by more than TOLERANCE; no file is
            written.
    """
    path = Path(path)
    _check_request(path, what, file_format, images)
    opts = [*opts, "MODEL.DEVICE", "cpu"] if what == "reid" else opts
    trained = load_trained_model(weights, config_file, opts)
    _check_branch(trained.model.reid_branch)
    module = EXPORTS[what].from_model(trained.model, trained.cfg).requires_grad_(False)
    inputs = [*_generate_inputs(module), *_read_images(images, trained.cfg.INPUT.FORMAT)]
    about = describe_export(trained, what)
    to_bytes, from_bytes = FORMATS[file_format]
    data = to_bytes(module, about)
    embeddings, difference = compare(module, from_bytes(data), inputs)
    if difference > TOLERANCE:
        raise RuntimeError(
            f"{path}: not written: its results differ from the eager model by {difference}"
        )
    _write(path, data)
    return ExportReport(path, about, len(inputs), embeddings, difference)


def describe_export(trained: TrainedModel, what: str) -> dict[str, str]:
    """Return the facts that a user of the file needs."""
    cfg = trained.cfg
    reid = cfg.MODEL.REID
    about = {
        "what": what,
        "levels": ",".join(reid.LEVELS),
        "width": str(len(reid.LEVELS) * reid.HEAD.EMBED_DIM),
        "channel_order": cfg.INPUT.FORMAT,
        "pixel_values": "0 to 255",
        "device": cfg.MODEL.DEVICE,
        "weights_sha256": trained.weights_sha256,
        "clsa_search": __version__,
    }
    if what == "reid":
        about["crop_height"], about["crop_width"] = map(str, reid.CROP_SIZE)
    return about


@torch.no_grad()
def compare(
    eager: Callable, exported: Callable, inputs: Sequence[torch.Tensor]
) -> tuple[int, float]:
    """Compare the outputs of an exported module with those of the eager one.

    Returns:
        The number of embeddings from the eager module, and the largest difference of any value:
        absolute, or relative to eager values beyond 1. It is infinite if shapes differ.
    """
    count, difference = 0, 0.0
    for value in inputs:
        expected, actual = _as_tuple(eager(value)), _as_tuple(exported(value))
        count += len(expected[0])
        for eager_output, output in zip(expected, actual, strict=True):
            difference = max(difference, _difference(eager_output, output))
    return count, difference


def _difference(eager: torch.Tensor, exported: torch.Tensor) -> float:
    if eager.shape != exported.shape:
        return math.inf
    differences = (eager - exported).abs() / eager.abs().clamp(min=1)
    return max(differences.nan_to_num(nan=math.inf).flatten().tolist(), default=0.0)


def _as_tuple(output: torch.Tensor | tuple) -> tuple[torch.Tensor, ...]:
    return (output,) if isinstance(output, torch.Tensor) else tuple(output)


def _generate_inputs(module: Exportable) -> Iterator[torch.Tensor]:
    """Generate noise; a detector may or may not detect people in it."""
    generator = torch.Generator().manual_seed(0)
    if isinstance(module, CropEmbedder):
        for count in CROP_COUNTS:
            shape = (count, 3, module.height, module.width)
            yield torch.rand(shape, generator=generator) * 255
    else:
        for size in IMAGE_SIZES:
            yield torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)


def _read_images(paths: Sequence, channel_order: str) -> Iterator[torch.Tensor]:
    for path in paths:
        pixels = read_image(path, channel_order)
        yield torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _check_request(path: Path, what: str, file_format: str, images: Sequence) -> None:
    """Report mistakes before the model is loaded."""
    for name, value, known in (("what", what, EXPORTS), ("format", file_format, FORMATS)):
        if value not in known:
            raise InputError(f"{name} is {value!r}; expected one of {', '.join(known)}")
    if file_format == "onnx":
        if what != "reid":
            raise InputError(
                "the whole model is not exported to onnx; expected the format torchscript, or the "
                "re-ID branch alone (reid)"
            )
        formats.check_onnx_packages()
    if images and what != "model":
        raise InputError(
            f"image {images[0]}: the re-ID branch takes no images; expected them with the whole "
            "model (model)"
        )
    check_output_file(path)


def _check_branch(branch: nn.Module) -> None:
    if isinstance(branch, ONNXBranch):
        raise InputError(
            f"MODEL.REID.NAME is ONNXBranch: {branch.path} is the export of its network; expected "
            "a model with CropBranch or SharedBranch"
        )


def _write(path: Path, data: bytes) -> None:
    with reported_writes(path), replace_file(path) as file:
        file.write(data)
