"""From a checkpoint to an exported file that computes what the eager model computes."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from clsa_search import __version__
from clsa_search.atomic_io import replace_file
from clsa_search.data.image_io import read_image
from clsa_search.engine.trained_model import TrainedModel, load_trained_model
from clsa_search.errors import InputError
from clsa_search.export import formats
from clsa_search.export.exportable import CropEmbedder, ImagePredictor

EXPORTS = {"reid": CropEmbedder, "model": ImagePredictor}
"""What can be exported."""

FORMATS = {
    "torchscript": (formats.to_torchscript, formats.load_torchscript),
    "onnx": (formats.to_onnx, formats.load_onnx),
}
"""How it is written, and read again."""

TOLERANCE = 1e-3
"""The greatest difference from the eager model that a file may have, as `compare` measures it."""

CROP_COUNTS = (0, 1, 2, 5)
IMAGE_SIZES = ((120, 160), (200, 90), (64, 64))  # height, width


@dataclass(frozen=True)
class Exported:
    """What was written, and how it compares with the eager model."""

    path: Path
    about: dict[str, str]  # what the file says of itself
    inputs: int  # how many both were given
    people: int  # how many they described in them
    difference: float  # the greatest, see `compare`


def export_model(
    weights: str | os.PathLike,
    path: str | os.PathLike,
    *,
    what: str,
    file_format: str,
    config_file: str | os.PathLike | None = None,
    opts: Sequence = (),
    images: Sequence[str | os.PathLike] = (),
) -> Exported:
    """Write a trained model for use without Detectron2, once it agrees with the eager one.

    Args:
        weights, config_file, opts: see `load_trained_model`. The whole model will run on
            MODEL.DEVICE alone; the re-ID branch is exported on the CPU and can be moved.
        path: of the file; its folder is made.
        what: "reid", see `CropEmbedder`, or "model", see `ImagePredictor`.
        file_format: "torchscript", or "onnx" for the re-ID branch.
        images: files to compare the whole model on, beside the noise that serves in any case.

    Raises:
        InputError: the model cannot be loaded or has no such export, an image cannot be read, a
            package is missing, the file cannot be written.
        RuntimeError: the export differs from the eager model by more than TOLERANCE; nothing is
            written.
    """
    path = Path(path)
    _check_request(path, what, file_format, images)
    opts = [*opts, "MODEL.DEVICE", "cpu"] if what == "reid" else opts
    trained = load_trained_model(weights, config_file, opts)
    describer = EXPORTS[what].from_model(trained.model, trained.cfg).requires_grad_(False)
    inputs = [*_draw_inputs(describer), *_read_images(images, trained.cfg.INPUT.FORMAT)]
    about = describe_export(trained, what)
    to_bytes, from_bytes = FORMATS[file_format]
    data = to_bytes(describer, about)
    people, difference = compare(describer, from_bytes(data), inputs)
    if difference > TOLERANCE:
        raise RuntimeError(
            f"{path} was not written: what it computes differs from the eager model by {difference}"
        )
    _write(path, data)
    return Exported(path, about, len(inputs), people, difference)


def describe_export(trained: TrainedModel, what: str) -> dict[str, str]:
    """What a user of the file has to know."""
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
    """How many people both describe, and the greatest difference of any value.

    A difference is taken relative to values beyond 1. It is infinite where one finds more people
    than the other.
    """
    people, difference = 0, 0.0
    for one in inputs:
        wanted, found = _outputs(eager(one)), _outputs(exported(one))
        people += len(wanted[0])
        for ours, theirs in zip(wanted, found, strict=True):
            difference = max(difference, _difference(ours, theirs))
    return people, difference


def _difference(eager: torch.Tensor, exported: torch.Tensor) -> float:
    if eager.shape != exported.shape:
        return math.inf
    apart = (eager - exported).abs() / eager.abs().clamp(min=1)
    return max(apart.nan_to_num(nan=math.inf).flatten().tolist(), default=0.0)


def _outputs(result: torch.Tensor | tuple) -> tuple[torch.Tensor, ...]:
    return (result,) if isinstance(result, torch.Tensor) else tuple(result)


def _draw_inputs(describer: CropEmbedder | ImagePredictor) -> Iterator[torch.Tensor]:
    """Noise; a detector may or may not see people in it."""
    generator = torch.Generator().manual_seed(0)
    if isinstance(describer, CropEmbedder):
        for count in CROP_COUNTS:
            shape = (count, 3, describer.height, describer.width)
            yield torch.rand(shape, generator=generator) * 255
    else:
        for size in IMAGE_SIZES:
            yield torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)


def _read_images(paths: Sequence, channel_order: str) -> Iterator[torch.Tensor]:
    for path in paths:
        pixels = read_image(path, channel_order)
        yield torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _check_request(path: Path, what: str, file_format: str, images: Sequence) -> None:
    """Find faults before the work is done."""
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
        raise InputError(f"image {images[0]}: images are for the whole model (model) alone")
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected the file to write")


def _write(path: Path, data: bytes) -> None:
    try:
        with replace_file(path) as file:
            file.write(data)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error}") from error
