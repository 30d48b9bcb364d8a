"""Options and outcome of indexing."""

import os
from collections import Counter
from dataclasses import dataclass, field, fields

from clsa_search.errors import InputError
from clsa_search.retrieval.placement_options import PlacementOptions

DEFAULT_RATE, MAX_RATE = 1.0, 1000.0
"""Sampled frames per second of a video."""


@dataclass(frozen=True, kw_only=True)
class IndexOptions:
    """Options of :class:`Indexer`.

    Args:
        rate: sampled frames per second of a video.
        camera, start_time, time_from, zone, camera_from, in_sequence: camera and start time of the
            files, see :class:`PlacementOptions`.
        batch_size: number of images in a batch of the model and of the store.
        threads: number of threads for reading and resizing images.

    Raises:
        InputError: a value is out of range.
    """

    rate: float = DEFAULT_RATE
    camera: str | None = None
    start_time: float | None = None
    time_from: str = ""
    zone: str = ""
    camera_from: str = ""
    in_sequence: bool = False
    batch_size: int = 8
    threads: int = min(8, os.cpu_count() or 1)

    def __post_init__(self) -> None:
        for name, is_valid, expected in (
            ("rate", 0 < self.rate <= MAX_RATE, "frames per second, above 0 and up to 1000"),
            ("start_time", abs(self.start_time or 0) < 1e12, "seconds"),
            ("batch_size", self.batch_size >= 1, "1 or more"),
            ("threads", self.threads >= 1, "1 or more"),
        ):
            if not is_valid:
                raise InputError(f"{name}: {getattr(self, name)}; expected {expected}")
        self.make_placement_options()

    def make_placement_options(self) -> PlacementOptions:
        """Return the options of camera and start time.

        Raises:
            InputError: see :class:`PlacementOptions`.
        """
        names = [one.name for one in fields(PlacementOptions)]
        return PlacementOptions(**{name: getattr(self, name) for name in names})


@dataclass
class IndexReport:
    """Outcome of :class:`Indexer`.

    Args:
        images: number of indexed images and frames.
        detections: number of stored detections.
        skipped: number of already indexed files.
        moved: number of indexed files that got another camera or start time.
        renamed: number of indexed files that have another path now.
        other_files: numbers of files of other kinds than images and videos, by suffix.
        conflicts: paths of files left to another process.
        problems: (path, reason) of unreadable or incomplete files, and of folders without media.
    """

    images: int = 0
    detections: int = 0
    skipped: int = 0
    moved: int = 0
    renamed: int = 0
    other_files: Counter[str] = field(default_factory=Counter)
    conflicts: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
