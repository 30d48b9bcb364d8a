"""Filling a gallery from photographs and videos, in a way that may be interrupted at any moment."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import NamedTuple

from clsa_search.data.image_io import read_image
from clsa_search.errors import InputError
from clsa_search.gallery import (
    GalleryImage,
    GalleryStore,
    IndexConflict,
    IndexProgress,
    Source,
)
from clsa_search.retrieval.media import describe_file, list_media
from clsa_search.retrieval.predictor import PersonSearchPredictor, check_image
from clsa_search.retrieval.prefetch import prefetch
from clsa_search.retrieval.video import VideoFrame, count_samples, sample_video


@dataclass(frozen=True, kw_only=True)
class IndexOptions:
    """rate: frames of a video a second. camera: name for all files. start_time: of each video's
    first frame, in seconds of whatever clock is asked for later. batch_size: pictures that are
    computed and stored together. threads: that read photographs and bring pictures to the model's
    size, ahead of it."""

    rate: float = 1.0
    camera: str | None = None
    start_time: float = 0.0
    batch_size: int = 8
    threads: int = min(8, os.cpu_count() or 1)

    def __post_init__(self) -> None:
        for name, is_right, expected in (
            ("rate", 0 < self.rate <= 1000, "frames a second, above 0 and up to 1000"),
            ("start_time", abs(self.start_time) < 1e12, "seconds"),
            ("batch_size", self.batch_size >= 1, "1 or more"),
            ("threads", self.threads >= 1, "1 or more"),
        ):
            if not is_right:
                raise InputError(f"{name}: {getattr(self, name)}; expected {expected}")


@dataclass
class IndexReport:
    """What indexing did: pictures and people stored, files that were there already, files that are
    no media by their names, files left to another process, and (path, reason) of what could not be
    read, or not to its end."""

    images: int = 0
    detections: int = 0
    skipped: int = 0
    other_files: int = 0
    conflicts: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)


class _Job(NamedTuple):
    """A file to index."""

    path: str
    fingerprint: str
    is_video: bool
    next_frame: int | None  # of a video that was interrupted
    stale: Source | None  # what the gallery holds of another state of the file


class _Shot(NamedTuple):
    """A picture to index, at the model's size; without one, the end of a video or a reason why
    there is no more."""

    job: _Job
    picture: dict | None = None
    frame: int | None = None
    time: float | None = None
    problem: str | None = None


class Indexer:
    """Finds the people of files and stores them.

    Pictures are stored batch by batch, each with how far its file is indexed. What was stored stays
    whatever happens, and indexing the same files again goes on from there. Several processes may
    fill one gallery: of a file that two of them begin, one is told to leave it.
    """

    def __init__(
        self,
        predictor: PersonSearchPredictor,
        store: GalleryStore,
        options: IndexOptions | None = None,
    ) -> None:
        """
        Args:
            predictor: whose weights are the store's.
            store: opened to add.
            options: by default those of the class.
        """
        self.predictor = predictor
        self.store = store
        self.options = options or IndexOptions()
        self.report = IndexReport()
        self._jobs: list[_Job] = []
        self._left: set[str] = set()  # files that another process has taken
        self._reached: dict[str, int | None] = {}  # the stored next frame

    def plan(self, paths: Sequence[str | os.PathLike]) -> int:
        """Choose what there is to do; files that are completely indexed are skipped.

        A file is new if its size, its time of change or an option changed; then its old people are
        replaced.

        Args:
            paths: images, videos, and folders of them.

        Returns:
            About how many pictures will be indexed.

        Raises:
            InputError: see :func:`list_media`.
        """
        listing = list_media(paths)
        self.report.other_files += listing.num_others
        self.report.problems += listing.problems
        known = {source.path: source for source in self.store.sources()}
        expected = 0
        files = [(p, False) for p in listing.images] + [(p, True) for p in listing.videos]
        for path, is_video in files:
            job = self._make_job(path, is_video, known.get(path))
            if job is not None:
                self._jobs.append(job)
                expected += count_samples(path, self.options.rate) if is_video else 1
        return expected

    def run(self, on_stored: Callable[[int, int], None] = lambda pictures, people: None) -> None:
        """Do what was planned; `report` tells what came of it.

        Args:
            on_stored: is told the number of pictures and of people of each batch on disk.

        Raises:
            InputError: the store cannot be written; what was stored before stays.
        """
        jobs, self._jobs = self._jobs, []
        size, threads = self.options.batch_size, self.options.threads
        # a batch that waits while each thread is at the next
        with closing(prefetch(self._read(jobs), count=size + threads, threads=threads)) as shots:
            while batch := list(islice(shots, size)):
                pictures, people = self._index(batch)
                self.report.images += pictures
                self.report.detections += people
                on_stored(pictures, people)

    def _make_job(self, path: str, is_video: bool, stored: Source | None) -> _Job | None:
        """What is to be done with a file; None, and a note in the report, where that is nothing."""
        try:
            path.encode()  # a name that is no text can be in no gallery
            fingerprint = self._fingerprint(path, is_video)
        except UnicodeEncodeError:
            self.report.problems.append((path, f"{ascii(path)}: has a name that is not UTF-8"))
            return None
        except InputError as error:
            self.report.problems.append((path, str(error)))
            return None
        if stored is None or stored.fingerprint != fingerprint:
            return _Job(path, fingerprint, is_video, None, stored)
        if stored.is_complete:
            self.report.skipped += 1
            return None
        return _Job(path, fingerprint, is_video, stored.next_frame, None)

    def _fingerprint(self, path: str, is_video: bool) -> str:
        """What makes a file new when it changes."""
        options = self.options
        sampling = f" {options.rate:g}/s from {options.start_time!r}" if is_video else ""
        return (
            f"{describe_file(path)}, score {self.predictor.min_score:g}, "
            f"camera {options.camera!r}{sampling}"
        )

    def _read(self, jobs: Sequence[_Job]) -> Iterator[Callable[[], _Shot]]:
        """What makes each picture; frames of a video are decoded on the way, in their order."""
        for job in jobs:
            if not job.is_video:
                yield partial(self._read_photograph, job)
                continue
            try:
                yield from self._read_video(job)
            except InputError as error:
                yield partial(_Shot, job, problem=str(error))

    def _read_photograph(self, job: _Job) -> _Shot:
        try:
            image = read_image(job.path, "RGB")
            check_image(image, job.path)
        except InputError as error:
            return _Shot(job, problem=str(error))
        return _Shot(job, self.predictor.prepare(image))

    def _read_video(self, job: _Job) -> Iterator[Callable[[], _Shot]]:
        for frame in sample_video(job.path, self.options.rate, job.next_frame or 0):
            if job.path in self._left:
                return
            check_image(frame.image, job.path)
            yield partial(self._prepare_frame, job, frame)
        yield partial(_Shot, job)

    def _prepare_frame(self, job: _Job, frame: VideoFrame) -> _Shot:
        time = self.options.start_time + frame.time
        return _Shot(job, self.predictor.prepare(frame.image), frame.index, time)

    def _index(self, batch: Sequence[_Shot]) -> tuple[int, int]:
        """Store a batch; gives the number of its pictures and people."""
        for shot in batch:
            if shot.problem:
                self.report.problems.append((shot.job.path, shot.problem))
        shots = [shot for shot in batch if shot.job.path not in self._left]
        shown = [shot for shot in shots if shot.picture is not None]
        found = self.predictor.detect([shot.picture for shot in shown])
        scenes = [
            GalleryImage(
                shot.job.path,
                people,
                frame=shot.frame,
                time=shot.time,
                camera=self.options.camera,
            )
            for shot, people in zip(shown, found, strict=True)
        ]
        self._add(scenes, self._advance(shots))
        stored = [scene for scene in scenes if scene.source not in self._left]
        return len(stored), sum(len(scene.detections) for scene in stored)

    def _advance(self, shots: Sequence[_Shot]) -> list[IndexProgress]:
        """How far each file of a batch will be indexed with it."""
        progress: dict[str, IndexProgress] = {}
        for shot in shots:
            path, fingerprint, is_video, begun, stale = shot.job
            if shot.picture is not None:
                reached = shot.frame + 1 if is_video else None
            elif path in progress or path in self._reached or begun is not None:
                reached = None  # the end of a video, be it too early
            else:
                continue  # nothing of it could be read
            if path in self._reached:
                begun, stale = self._reached[path], None
            progress[path] = IndexProgress(path, fingerprint, reached, begun, stale)
        return list(progress.values())

    def _add(self, scenes: Sequence[GalleryImage], progress: Sequence[IndexProgress]) -> None:
        """Store what no other process was quicker with."""
        while True:
            try:
                self.store.add(
                    [scene for scene in scenes if scene.source not in self._left],
                    [one for one in progress if one.source not in self._left],
                )
            except IndexConflict as error:
                self._left.update(error.sources)
                self.report.conflicts += error.sources
            else:
                self._reached |= {one.source: one.next_frame for one in progress}
                return
