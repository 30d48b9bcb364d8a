"""Speed of indexing images and videos into a gallery: end to end, and each part alone.

Reading overlaps with the model and storing, and on a GPU these two overlap too: the slowest part
alone is the limit of the whole.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode

from benchmarks.speed.inputs import (
    build_random_model,
    generate_image,
    with_options,
    write_images,
)
from benchmarks.speed.measurement import Measurement, measure
from benchmarks.speed.settings import CAMERA_SIZE
from benchmarks.speed.timing import time_call
from clsa_search.data.image_io import read_image
from clsa_search.engine import TrainedModel
from clsa_search.engine.memory import keep_freed_memory
from clsa_search.engine.precision import prepare_for_inference
from clsa_search.gallery import GalleryImage, GalleryStore, IndexProgress, open_store
from clsa_search.retrieval.index_options import IndexOptions
from clsa_search.retrieval.indexer import Indexer
from clsa_search.retrieval.predictor import PersonSearchPredictor
from clsa_search.structures import ImageDetections

_FINGERPRINT = "0" * 64
_FPS = 25
_SHIFT = 8  # pixels of motion per video frame
_CPU = torch.device("cpu")


class _Media(NamedTuple):
    """Images or a video to index.

    Args:
        name: name in the table.
        path: folder of images, or video file.
        decode: function that only decodes everything.
        options: threads, and sampled frames per second.
    """

    name: str
    path: Path
    decode: Callable[[], Any]
    options: IndexOptions

    def __str__(self) -> str:
        threads = self.options.threads
        return f"{self.name} by {threads} thread{'s' * (threads > 1)}"


def measure_indexing(
    cfg: CfgNode,
    folder: Path | None,
    *,
    device: torch.device,
    repeat: int,
    size: tuple[int, int] = CAMERA_SIZE,
    boxes: int = 8,
    images: int = 16,
    threads: int = IndexOptions.threads,
    rate: float = IndexOptions.rate,
) -> Iterator[Measurement]:
    """Measure indexing of images, by one reading thread and by several, and of a video.

    Args:
        cfg: config of the model; its weights are random.
        folder: folder on the disk to measure, default the system's; temporary files are deleted.
        device: device of the model.
        repeat: number of timed calls.
        size: (height, width) of images and video.
        boxes: number of stored detections per image.
        images: number of images, and of indexed frames of the video.
        threads: number of reading threads.
        rate: indexed frames per second of the video.
    """
    with TemporaryDirectory(dir=folder) as temporary:
        place = Path(temporary)
        trained = build_random_trained_model(cfg, device, boxes)
        predictor = PersonSearchPredictor(trained)
        all_options = [IndexOptions(threads=number, rate=rate) for number in sorted({1, threads})]
        all_media = _write_media(place, size, images, all_options)
        batch = [generate_image(number, size) for number in range(IndexOptions.batch_size)]
        model = _measure_model(predictor, batch, cfg.TEST.DTYPE, repeat)
        storing = _measure_storing(place, predictor.detect(batch), repeat)
        yield from (model, storing)
        for media in all_media:
            reading = _measure_reading(media, _ReadOnlyPredictor(trained), images, repeat)
            yield reading
            parts = {"reading": reading, "model": model, "storing": storing}
            slowest = max(parts, key=lambda part: parts[part].seconds)
            whole = _measure_whole(place, media, predictor, images, repeat)
            whole.notes["slowest part"] = slowest
            yield replace(whole, limit_seconds=parts[slowest].seconds)


def build_random_trained_model(cfg: CfgNode, device: torch.device, detections: int) -> TrainedModel:
    """Build an optimized model with random weights and a fixed number of detections per image."""
    cfg = with_options(cfg, "MODEL.DEVICE", str(device))
    keep_freed_memory(device)  # as clsa-search does
    model = build_random_model(cfg, device, detections=detections)
    prepare_for_inference(model, cfg)
    return TrainedModel(model, cfg, _FINGERPRINT)


def write_video(path: Path, frames: int, size: tuple[int, int]) -> None:
    """Write a video of an image that moves sideways, in MPEG-4."""
    image = generate_image(0, size)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), _FPS, size[::-1])
    for frame in range(frames):
        writer.write(np.roll(image, _SHIFT * frame, axis=1))
    writer.release()


def _write_media(
    place: Path, size: tuple[int, int], images: int, all_options: Sequence[IndexOptions]
) -> list[_Media]:
    folder, video = place / "images", place / "video.mp4"
    folder.mkdir()
    write_images(folder, images, size=size)
    frames = max(images, math.ceil(images * _FPS / all_options[-1].rate))
    write_video(video, frames, size)
    files = sorted(folder.glob("*.jpg"))
    folders = [
        _Media("images", folder, lambda: [read_image(path) for path in files], options)
        for options in all_options
    ]
    return [*folders, _Media("video", video, lambda: _decode(video), all_options[-1])]


def _decode(video: Path) -> None:
    capture = cv2.VideoCapture(str(video))
    while capture.grab():
        pass
    capture.release()


def _measure_model(
    predictor: PersonSearchPredictor, images: Sequence[np.ndarray], dtype: str, repeat: int
) -> Measurement:
    prepared = [predictor.prepare(image) for image in images]
    return measure(
        lambda: predictor.detect(prepared),
        name="model alone",
        unit="image",
        units=len(images),
        device=predictor.device,
        repeat=repeat,
        dtype=dtype,
    )


def _measure_storing(
    place: Path, detections: Sequence[ImageDetections], repeat: int
) -> Measurement:
    """Measure adding batches to a gallery; the limit is writing as many bytes to the disk."""
    numbers = count()
    (place / "plain").write_bytes(b"")
    arrays = [array for x in detections for array in (x.boxes, x.scores, x.embeddings)]
    content = b"".join(array.tobytes() for array in arrays)

    def store_batch(store: GalleryStore) -> None:
        paths = [f"{next(numbers)}.jpg" for _ in detections]
        images = [GalleryImage(path, x) for path, x in zip(paths, detections, strict=True)]
        store.add(images, [IndexProgress(path, "new") for path in paths])

    def write_plain() -> None:
        with open(place / "plain", "r+b") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    with open_store(place / "storing.db", weights=_FINGERPRINT, create=True) as store:
        seconds = time_call(lambda: store_batch(store), _CPU, repeat) / len(detections)
    limit = time_call(write_plain, _CPU, repeat) / len(detections)
    return Measurement(name="storing alone", unit="image", seconds=seconds, limit_seconds=limit)


def _measure_reading(
    media: _Media, predictor: "_ReadOnlyPredictor", images: int, repeat: int
) -> Measurement:
    """Measure indexing without model and store; the limit is decoding by as many threads."""

    def read() -> None:
        _index(media, predictor, cast(GalleryStore, _NullStore()))

    workers = min(media.options.threads, os.cpu_count() or 1) if media.path.is_dir() else 1
    return Measurement(
        name=f"reading {media} alone",
        unit="image",
        seconds=time_call(read, _CPU, repeat) / images,
        limit_seconds=time_call(media.decode, _CPU, repeat) / images / workers,
    )


def _measure_whole(
    place: Path, media: _Media, predictor: PersonSearchPredictor, images: int, repeat: int
) -> Measurement:
    stored = []

    def index() -> None:
        with TemporaryDirectory(dir=place) as folder:
            address = os.path.join(folder, "gallery.db")
            with open_store(address, weights=_FINGERPRINT, create=True) as store:
                stored.append(_index(media, predictor, store) / images)

    return Measurement(
        name=f"indexing {media}",
        unit="image",
        seconds=time_call(index, predictor.device, repeat) / images,
        notes={"stored detections": stored[-1]},
    )


def _index(media: _Media, predictor: PersonSearchPredictor, store: GalleryStore) -> int:
    """Run the indexer and return the number of stored detections."""
    indexer = Indexer(predictor, store, media.options)
    indexer.plan([media.path])
    indexer.run()
    return indexer.report.detections


class _ReadOnlyPredictor(PersonSearchPredictor):
    """Predictor that prepares images and detects nobody."""

    def detect(self, images: Sequence[np.ndarray | dict]) -> list[ImageDetections]:
        return [ImageDetections.empty(1)] * len(images)


class _NullStore:
    """Store that keeps nothing."""

    def _find_nothing(self, *_: object, **__: object) -> list:
        return []

    sources = notes = unlinked = list = list_drawn = tracklets = set_tracklets = _find_nothing

    def add(self, images: Sequence[GalleryImage], progress: Sequence[IndexProgress] = ()) -> None:
        pass
