"""How quickly photographs and videos become a gallery: end to end, and each part alone.

Reading, the model and storing overlap, so that the slowest part alone is the limit of the whole.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode

from benchmarks.speed.inputs import (
    CAMERA_SIZE,
    build_random_model,
    generate_image,
    with_options,
    write_images,
)
from benchmarks.speed.measurement import Measurement, measure
from benchmarks.speed.timing import time_call
from clsa_search.data.image_io import read_image
from clsa_search.engine import TrainedModel
from clsa_search.engine.memory import keep_freed_memory
from clsa_search.engine.precision import prepare_for_inference
from clsa_search.gallery import GalleryImage, GalleryStore, IndexProgress, open_store
from clsa_search.retrieval.indexer import Indexer, IndexOptions
from clsa_search.retrieval.predictor import PersonSearchPredictor
from clsa_search.structures import ImageDetections

_WEIGHTS = "0" * 64
_FPS = 25
_STEP = 8  # pixels that a video's picture moves from frame to frame
_CPU = torch.device("cpu")


class _Media(NamedTuple):
    name: str
    path: Path
    decode: Callable[[], Any]  # all of it, and nothing else
    threads: int


def measure_index(
    cfg: CfgNode,
    folder: Path,
    *,
    device: torch.device,
    repeat: int,
    size: tuple[int, int] = CAMERA_SIZE,
    people: int = 8,
    pictures: int = 16,
    threads: int = IndexOptions.threads,
) -> Iterator[Measurement]:
    """Index photographs, by one reading thread and by several, and a video, a frame a second.

    Args:
        cfg: of the model; its weights are random.
        folder: on the disk to measure; what is written into it is deleted.
        device: where to compute.
        repeat: how often each thing is timed.
        size: (height, width) of pictures and video.
        people: of each picture, who are described and stored.
        pictures: how many photographs, and seconds of video.
        threads: that read photographs.
    """
    with TemporaryDirectory(dir=folder) as place:
        predictor = build_random_predictor(cfg, device, people)
        media = _write_media(Path(place), size, pictures, sorted({1, threads}))
        images = [generate_image(number, size) for number in range(IndexOptions.batch_size)]
        model = _measure_model(predictor, images, cfg.TEST.DTYPE, repeat)
        storing = _measure_storing(Path(place), predictor.detect(images), repeat)
        yield from (model, storing)
        for one in media:
            reading = _measure_reading(one, predictor, pictures, repeat)
            yield reading
            parts = {"reading": reading, "model": model, "storing": storing}
            slowest = max(parts, key=lambda part: parts[part].seconds)
            whole = _measure_whole(Path(place), one, predictor, pictures, repeat)
            notes = {**whole.notes, "slowest part": slowest}
            yield replace(whole, limit_seconds=parts[slowest].seconds, notes=notes)


def build_random_predictor(
    cfg: CfgNode, device: torch.device, people: int
) -> PersonSearchPredictor:
    """A tuned model with random weights that finds so many people in every picture."""
    cfg = with_options(cfg, "MODEL.DEVICE", str(device))
    keep_freed_memory(device)  # as clsa-search does
    model = build_random_model(cfg, device, detections=people)
    prepare_for_inference(model, cfg)
    return PersonSearchPredictor(TrainedModel(model, cfg, _WEIGHTS))


def write_video(path: Path, seconds: int, size: tuple[int, int]) -> None:
    """A picture that moves sideways, in MPEG-4."""
    picture = generate_image(0, size)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), _FPS, size[::-1])
    for frame in range(seconds * _FPS):
        writer.write(np.roll(picture, _STEP * frame, axis=1))
    writer.release()


def _write_media(
    place: Path, size: tuple[int, int], pictures: int, threads: Sequence[int]
) -> list[_Media]:
    folder, video = place / "photographs", place / "video.mp4"
    folder.mkdir()
    write_images(folder, pictures, size=size)
    write_video(video, pictures, size)
    files = sorted(folder.glob("*.jpg"))
    many = [
        _Media("photographs", folder, lambda: [read_image(path) for path in files], number)
        for number in threads
    ]
    return [*many, _Media("video", video, lambda: _decode(video), max(threads))]


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
        unit="picture",
        units=len(images),
        device=predictor.device,
        repeat=repeat,
        dtype=dtype,
    )


def _measure_storing(place: Path, found: Sequence[ImageDetections], repeat: int) -> Measurement:
    """Batches of people into a gallery; the limit is writing as many bytes to the disk."""
    numbers = count()
    (place / "bare").write_bytes(b"")
    content = b"".join(np.concatenate(people, axis=None).tobytes() for people in found)

    def store_batch(store: GalleryStore) -> None:
        paths = [f"{next(numbers)}.jpg" for _ in found]
        scenes = [
            GalleryImage(path, detections) for path, detections in zip(paths, found, strict=True)
        ]
        store.add(scenes, [IndexProgress(path, "new") for path in paths])

    def write_bare() -> None:
        with open(place / "bare", "r+b") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    with open_store(place / "storing.db", weights=_WEIGHTS, create=True) as store:
        seconds = time_call(lambda: store_batch(store), _CPU, repeat) / len(found)
    limit = time_call(write_bare, _CPU, repeat) / len(found)
    return Measurement(name="storing alone", unit="picture", seconds=seconds, limit_seconds=limit)


def _measure_reading(
    media: _Media, predictor: PersonSearchPredictor, pictures: int, repeat: int
) -> Measurement:
    """Indexing without computing and storing; the limit is decoding alone, by as many threads."""

    def read() -> None:
        _index(media, _Blind(predictor), _Sink())

    workers = min(media.threads, os.cpu_count() or 1) if media.path.is_dir() else 1
    return Measurement(
        name=f"reading {_describe(media)} alone",
        unit="picture",
        seconds=time_call(read, _CPU, repeat) / pictures,
        limit_seconds=time_call(media.decode, _CPU, repeat) / pictures / workers,
    )


def _measure_whole(
    place: Path, media: _Media, predictor: PersonSearchPredictor, pictures: int, repeat: int
) -> Measurement:
    people = []

    def index() -> None:
        with TemporaryDirectory(dir=place) as folder:
            address = os.path.join(folder, "gallery.db")
            with open_store(address, weights=_WEIGHTS, create=True) as store:
                people.append(_index(media, predictor, store) / pictures)

    return Measurement(
        name=f"indexing {_describe(media)}",
        unit="picture",
        seconds=time_call(index, predictor.device, repeat) / pictures,
        notes={"people stored": people[-1]},
    )


def _describe(media: _Media) -> str:
    return f"{media.name} by {media.threads} thread{'s' * (media.threads > 1)}"


def _index(
    media: _Media, predictor: "PersonSearchPredictor | _Blind", store: "GalleryStore | _Sink"
) -> int:
    """How many people were stored."""
    indexer = Indexer(predictor, store, IndexOptions(threads=media.threads))
    indexer.plan([media.path])
    indexer.run()
    return indexer.report.detections


class _Blind:
    """In place of a predictor: prepares pictures as it does, and finds nobody in them."""

    def __init__(self, predictor: PersonSearchPredictor) -> None:
        self.prepare = predictor.prepare
        self.min_score = predictor.min_score

    def detect(self, pictures: Sequence[dict]) -> list[ImageDetections]:
        return [ImageDetections(np.empty((0, 4)), np.empty(0), np.empty((0, 1)))] * len(pictures)


class _Sink:
    """In place of a store: takes everything and keeps nothing."""

    def sources(self) -> list:
        return []

    def add(self, scenes: Sequence[GalleryImage], progress: Sequence[IndexProgress] = ()) -> None:
        pass
