"""Fill a gallery from images and videos; may be interrupted and repeated at any time."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import islice

import numpy as np

from clsa_search.data.given_detections import FileBoxes
from clsa_search.data.image_io import read_image
from clsa_search.errors import InputError
from clsa_search.gallery import (
    GalleryImage,
    GalleryStore,
    IndexConflict,
    IndexProgress,
    Origin,
    StoredDetection,
)
from clsa_search.retrieval.drawn_detections import drop_drawn, prepare_drawn
from clsa_search.retrieval.erasure import Suppression
from clsa_search.retrieval.index_options import IndexOptions, IndexReport
from clsa_search.retrieval.index_planner import IndexPlanner, PlannedFile
from clsa_search.retrieval.index_samples import Batch, Sample
from clsa_search.retrieval.predictor import PersonSearchPredictor, check_image
from clsa_search.retrieval.prefetch import prefetch, work_ahead
from clsa_search.retrieval.source_files import list_media
from clsa_search.retrieval.source_moves import follow_renames
from clsa_search.retrieval.video import VideoFrame, count_samples, sample_video
from clsa_search.sightings.source_links import link_sources
from clsa_search.structures import ImageDetections


class Indexer:
    """Detection of people in files, and storage of the detections.

    Images are stored batch by batch, together with the progress of their files. Stored data stays,
    whatever happens, and indexing the same files again continues after it. Several processes may
    fill one gallery; each file is left to the first one.

    Args:
        predictor: model with the weights of the store.
        store: gallery, opened with weights.
        options: options of indexing.
        boxes: boxes of another detector by real path, to use in place of the model's detector;
            files and frames without boxes are not decoded. By default the model detects people.
    """

    def __init__(
        self,
        predictor: PersonSearchPredictor,
        store: GalleryStore,
        options: IndexOptions | None = None,
        boxes: Mapping[str, FileBoxes] | None = None,
    ) -> None:
        self.predictor = predictor
        self.store = store
        self.options = options or IndexOptions()
        self.boxes = boxes
        self.report = IndexReport()
        self._files: list[PlannedFile] = []
        self._moved: list[PlannedFile] = []  # only their cameras or start times change
        self._conflicts: set[str] = set()  # paths of files of other processes
        self._suppression = Suppression()
        self._next_frames: dict[str, int | None] = {}  # stored progress of this run
        self._linked: set[str] = set()  # paths of files whose tracklets are up to date

    def plan(self, paths: Sequence[str | os.PathLike]) -> int:
        """Choose the files to index; completely indexed files are skipped.

        A file is indexed again if its size, its modification time or an option changed. Its old
        detections are replaced. If only its name, its camera or its start time changes, they are
        kept.

        Args:
            paths: images, videos and folders.

        Returns:
            Estimated number of images and frames.

        Raises:
            InputError: see :func:`list_media`.
        """
        media = list_media(paths)
        self.report.other_files += media.others
        self.report.problems += media.problems
        renamed, problems = follow_renames(self.store, [*media.images, *media.videos])
        self.report.problems += problems
        self.report.renamed += len(renamed)
        score = self.predictor.min_score
        planner = IndexPlanner(
            self.store.sources(), self.options, score, self.boxes, self.report, renamed
        )
        plan = planner.plan(media)
        self._files += plan.files
        self._moved += plan.moved
        return sum(map(self._count, plan.files))

    def run(self, on_stored: Callable[[int, int], None] = lambda images, detections: None) -> None:
        """Detect and store the people of the planned files; `report` holds the outcome.

        Args:
            on_stored: called after each batch with its numbers of images and detections.

        Raises:
            InputError: the store cannot be written; stored batches stay.
        """
        self._move()
        self._suppression = Suppression(self.store)
        planned, self._files = self._files, []
        drawn = prepare_drawn(self.store, planned)
        self.report.problems += drawn.problems
        files = [file for file in planned if file.path not in drawn.unreadable]
        videos = [file.path for file in files if file.is_video]
        size, threads = self.options.batch_size, self.options.threads
        # one batch may wait while each thread works on the next one
        count = size + threads
        # a GPU works on the next batch while the one before is stored; a CPU would share its cores
        ahead = int(str(self.predictor.device).startswith("cuda"))
        with closing(prefetch(self._read(files), count=count, threads=threads)) as samples:
            batches = iter(lambda: list(islice(samples, size)), [])
            with closing(work_ahead(self._detect, batches, count=ahead)) as detected:
                for batch in detected:
                    images, detections = self._store(batch)
                    self.report.images += images
                    self.report.detections += detections
                    on_stored(images, detections)
                    self._link(x for x in videos if self._next_frames.get(x, 0) is None)
        self._link(self.store.unlinked())  # also those of an interrupted run

    def _move(self) -> None:
        """Store the new cameras and start times of indexed files."""
        moved, self._moved = self._moved, []
        for file in moved:
            try:
                self.store.place(file.path, file.placement, file.fingerprint, file.base)
                self.report.moved += 1
            except InputError as error:
                self.report.problems.append((file.path, str(error)))

    def _count(self, file: PlannedFile) -> int:
        """Estimate the number of images and frames of a file."""
        if file.boxes is not None:
            return len(file.boxes)
        return count_samples(file.path, self.options.rate) if file.is_video else 1

    def _read(self, files: Sequence[PlannedFile]) -> Iterator[Callable[[], Sample]]:
        """Yield a task for each image and frame; videos are decoded here, in their order."""
        for file in files:
            if file.boxes == {}:
                yield partial(Sample, file)
                continue
            if not file.is_video:
                yield partial(self._read_image, file)
                continue
            try:
                yield from self._read_video(file)
            except Exception as error:  # any fault of a decoder is the file's
                yield partial(Sample, file, problem=_describe(error, file.path))

    def _read_image(self, file: PlannedFile) -> Sample:
        try:
            image = read_image(file.path, "RGB")
            check_image(image, file.path)
            return Sample(file, self._prepare(image, file, None), time=file.placement.start)
        except Exception as error:  # any fault of a decoder is the file's
            return Sample(file, problem=_describe(error, file.path))

    def _read_video(self, file: PlannedFile) -> Iterator[Callable[[], Sample]]:
        start = file.next_frame or 0
        given = None if file.boxes is None else [n for n in file.boxes if n is not None]
        for frame in sample_video(file.path, self.options.rate, start, given):
            if file.path in self._conflicts:
                return
            check_image(frame.image, file.path)
            yield partial(self._prepare_frame, file, frame)
        yield partial(Sample, file)

    def _prepare_frame(self, file: PlannedFile, frame: VideoFrame) -> Sample:
        time = (file.placement.start or 0.0) + frame.time
        try:
            model_input = self._prepare(frame.image, file, frame.position)
            return Sample(file, model_input, frame.number, time)
        except Exception as error:  # such as no memory; the next frames go on
            problem = _describe(error, f"{file.path}: frame {frame.number}")
            return Sample(file, None, frame.number, time, problem)

    def _prepare(self, image: np.ndarray, file: PlannedFile, number: int | None) -> dict:
        """Return the model input of an image or frame with its given boxes."""
        if file.boxes is None:
            return self.predictor.prepare(image)
        height, width = image.shape[:2]
        return self.predictor.prepare(image, detections=file.boxes[number].fit(width, height))

    def _detect(self, samples: Sequence[Sample]) -> Batch:
        """Detect the people of a batch, except in files of other processes."""
        inputs = {
            number: sample.model_input
            for number, sample in enumerate(samples)
            if sample.model_input is not None and sample.file.path not in self._conflicts
        }
        found = self.predictor.detect([*inputs.values()])
        return Batch(samples, dict(zip(inputs, found, strict=True)))

    def _store(self, batch: Batch) -> tuple[int, int]:
        """Store a batch; return its numbers of images and detections."""
        for sample in batch.samples:
            if sample.problem:
                self.report.problems.append((sample.file.path, sample.problem))
        pairs = [(batch.samples[number], found) for number, found in batch.detections.items()]
        files = {one.file.path: one.file for one, _ in pairs if one.file.keeps_drawn}
        stored_before = [
            x for x, file in files.items() if not file.is_new or x in self._next_frames
        ]
        drawn = self.store.list_drawn(sorted(stored_before)) if stored_before else []
        images = [self._make_image(*pair, drawn) for pair in pairs]
        mine = [sample for sample in batch.samples if sample.file.path not in self._conflicts]
        self._add(images, self._get_progress(mine))
        stored = [image for image in images if image.source not in self._conflicts]
        return len(stored), sum(len(image.detections) for image in stored)

    def _make_image(
        self, sample: Sample, detections: ImageDetections, drawn: Sequence[StoredDetection]
    ) -> GalleryImage:
        """Return the image to store, without erased people and without those with drawn boxes."""
        file, _, frame, time, _ = sample
        camera, start, _ = file.placement
        seconds = None if frame is None or time is None else time - (start or 0.0)
        kept = self._suppression.drop(detections, file.path, seconds)
        here = [one for one in drawn if (one.source, one.frame) == (file.path, frame)]
        origin: Origin = "model" if file.boxes is None else "file"
        return GalleryImage(file.path, drop_drawn(kept, here), frame, time, camera, origin)

    def _link(self, paths: Iterable[str]) -> None:
        """Link the detections of files to tracklets, once each, without those of others."""
        mine = [path for path in paths if path not in self._conflicts | self._linked]
        self._linked.update(mine)
        self.report.problems += link_sources(self.store, mine)

    def _get_progress(self, samples: Sequence[Sample]) -> list[IndexProgress]:
        """Return the progress of each file after a batch."""
        progress: dict[str, IndexProgress] = {}
        for sample in samples:
            path, fingerprint, _, after, replaces, _, placement, _ = sample.file
            if sample.frame is not None:
                next_frame: int | None = sample.frame + 1
            elif sample.model_input is not None:
                next_frame = None
            elif sample.problem is None or path in progress or path in self._next_frames:
                next_frame = None  # the end of a video, or of its readable part
            elif after is not None:
                next_frame = None
            else:
                continue  # no part of the file was readable
            if path in self._next_frames:
                after, replaces = self._next_frames[path], None
            progress[path] = IndexProgress(
                *(path, fingerprint, next_frame, after, replaces, *placement),
                keeps_drawn=sample.file.keeps_drawn,
            )
        return list(progress.values())

    def _add(self, images: Sequence[GalleryImage], progress: Sequence[IndexProgress]) -> None:
        """Store images and progress, without the files of other processes."""
        while True:
            try:
                self.store.add(
                    [image for image in images if image.source not in self._conflicts],
                    [one for one in progress if one.source not in self._conflicts],
                )
            except IndexConflict as error:
                self._conflicts.update(error.sources)
                self.report.conflicts += error.sources
            else:
                self._next_frames |= {one.source: one.next_frame for one in progress}
                return


def _describe(error: Exception, name: str) -> str:
    return str(error) if isinstance(error, InputError) else f"{name}: cannot be read: {error!r}"
