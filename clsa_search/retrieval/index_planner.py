"""The choice of files to index: new, changed or interrupted ones, with camera and start time."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from clsa_search.data.given_detections import FileBoxes, hash_boxes
from clsa_search.errors import InputError
from clsa_search.gallery import Placement, Source
from clsa_search.retrieval.index_options import IndexOptions, IndexReport
from clsa_search.retrieval.source_base import find_base
from clsa_search.retrieval.source_files import MediaFiles, describe_file
from clsa_search.retrieval.source_moves import resolve_links
from clsa_search.retrieval.source_placement import place_files

_TEXT = r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"  # as repr writes it
_CAMERA_PART = re.compile(rf"(?<=, )camera(?:-from)? (?:None|{_TEXT})")
_TIME_PART = re.compile(rf" (?:from|by) (?:[-+.\de]+|{_TEXT})")


class PlannedFile(NamedTuple):
    """A file to index.

    Args:
        path: path of the source: without links, unless it was stored with them.
        fingerprint: state of the file and the options.
        is_video: whether it is a video.
        next_frame: frame to continue an interrupted video with.
        replaces: source of an older state in the gallery.
        boxes: boxes of another detector; None to detect people.
        placement: camera and start.
        base: time of the first frame in the stored times.
    """

    path: str
    fingerprint: str
    is_video: bool
    next_frame: int | None
    replaces: Source | None
    boxes: FileBoxes | None
    placement: Placement = Placement(None, None, None)
    base: float = 0.0

    @property
    def is_new(self) -> bool:
        """Whether the gallery holds nothing of the file yet."""
        return self.replaces is None and self.next_frame is None

    @property
    def keeps_drawn(self) -> bool:
        """Whether the file is as it was: boxes that somebody drew in it still fit."""
        known = self.replaces and self.replaces.fingerprint
        return not known or known.split(", score ")[0] == self.fingerprint.split(", score ")[0]


class IndexPlan(NamedTuple):
    """Work on a gallery.

    Args:
        files: files to index.
        moved: indexed files that need another camera or start only.
    """

    files: list[PlannedFile]
    moved: list[PlannedFile]


class IndexPlanner:
    """Comparison of files with a gallery.

    Args:
        sources: sources of the gallery.
        options: options of indexing.
        min_score: lowest detection score.
        boxes: see `Indexer`.
        report: problems and skipped files are added to it.
        renamed: paths of sources whose files were renamed; their cameras and times may change.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        options: IndexOptions,
        min_score: float,
        boxes: Mapping[str, FileBoxes] | None,
        report: IndexReport,
        renamed: Collection[str] = (),
    ) -> None:
        self._sources = {source.path: source for source in sources}
        self._links = resolve_links(self._sources)  # of galleries that hold paths with links
        self._options = options
        self._min_score = min_score
        self._boxes = boxes
        self._report = report
        names_count = options.camera_from or "name:" in options.time_from
        self._renamed = frozenset(renamed if names_count else ())

    def plan(self, media: MediaFiles) -> IndexPlan:
        """Choose the files to index; files without camera or time become problems."""
        real_paths = [(path, False) for path in media.images]
        real_paths += [(path, True) for path in media.videos]
        files, moved = [], []
        for real_path, is_video in real_paths:
            file = self._plan_file(real_path, is_video)
            if file is None:
                continue
            stored = self._sources.get(file.path)
            needs_frames = stored is None or file.replaces is not None or not stored.is_complete
            if needs_frames:
                files.append(file)
            if stored is not None and not file.replaces and not self._is_placed(stored, file):
                moved.append(file)
        placements = self._place(media, [*files, *moved])
        return IndexPlan(_add_placements(files, placements), _add_placements(moved, placements))

    def _plan_file(self, real_path: str, is_video: bool) -> PlannedFile | None:
        """Return the file if there is something to do; report it otherwise."""
        path = self._links.get(real_path, real_path)
        boxes = None if self._boxes is None else self._boxes.get(real_path, {})
        stored = self._sources.get(path)
        try:
            path.encode()  # galleries store paths as UTF-8
            fingerprint = self._fingerprint(path, is_video, boxes)
        except UnicodeEncodeError:
            self._report.problems.append(
                (path, f"{path}: has a name that is not UTF-8; expected another name")
            )
            return None
        except InputError as error:
            self._report.problems.append((path, str(error)))
            return None
        if stored is None or _without_placement(stored.fingerprint) != _without_placement(
            fingerprint
        ):
            return PlannedFile(path, fingerprint, is_video, None, replaces=stored, boxes=boxes)
        is_renamed = path in self._renamed
        if stored.is_complete and stored.fingerprint == fingerprint and not is_renamed:
            self._report.skipped += 1
            return None
        next_frame, base = stored.next_frame, find_base(stored)
        return PlannedFile(path, fingerprint, is_video, next_frame, None, boxes, base=base)

    def _is_placed(self, stored: Source, file: PlannedFile) -> bool:
        return stored.fingerprint == file.fingerprint and file.path not in self._renamed

    def _fingerprint(self, path: str, is_video: bool, boxes: FileBoxes | None) -> str:
        """Return a text of the file's state, the options and the given boxes."""
        options = self._options
        given = "" if boxes is None else f", boxes {hash_boxes(boxes)}"
        camera = f"camera {options.camera!r}"
        if options.camera_from:
            camera = f"camera-from {options.camera_from!r}"
        rules = f"{options.time_from} {options.zone}".rstrip()
        rules += " in sequence" if options.in_sequence else ""
        time = f" by {rules!r}" if rules else ""
        if is_video and not rules:
            time = f" from {options.start_time or 0.0!r}"
        sampling = f" {options.rate:g}/s" if is_video else ""
        return f"{describe_file(path)}, score {self._min_score:g}, {camera}{sampling}{time}{given}"

    def _place(self, media: MediaFiles, files: Sequence[PlannedFile]) -> dict[str, Placement]:
        """Return camera and start of the files that have them; report the others."""
        if not files:
            return {}
        options = self._options.make_placement_options()
        needed = {file.path for file in files}
        images = [file.path for file in files if not file.is_video]
        videos = [file.path for file in files if file.is_video]
        if options.in_sequence:  # the clips before tell the time of the next one
            videos = [self._links.get(path, path) for path in media.videos]
        placements, problems = place_files(images, videos, options)
        self._report.problems += [problem for problem in problems if problem[0] in needed]
        for file in files:  # an interrupted video continues as it began
            stored = self._sources.get(file.path)
            if stored is None or file.path not in placements:
                continue
            if self._is_placed(stored, file):
                placements[file.path] = _join_placements(stored, placements[file.path])
        return placements


def _add_placements(
    files: Sequence[PlannedFile], placements: Mapping[str, Placement]
) -> list[PlannedFile]:
    return [
        file._replace(placement=placements[file.path]) for file in files if file.path in placements
    ]


def _join_placements(stored: Source, found: Placement) -> Placement:
    """Return the stored values; a gallery of an earlier version may lack them."""
    camera = found.camera if stored.camera is None else stored.camera
    if stored.start is None:
        return found._replace(camera=camera)
    return Placement(camera, stored.start, stored.start_from)


def _without_placement(fingerprint: str | None) -> str | None:
    """Return a fingerprint without the options of camera and time."""
    if fingerprint is None:
        return None
    return _TIME_PART.sub("", _CAMERA_PART.sub("", fingerprint, count=1), count=1)
