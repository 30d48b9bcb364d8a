"""Detections of other programs, and the images and frames that they belong to.

Shape letters: M boxes of an image.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from clsa_search.data.datasets.mot_frames import is_number, number_frames
from clsa_search.errors import InputError
from clsa_search.wording import count_noun, show_value

_EXPECTED = (
    "names of images, with or without folders and suffix; of frames as <video>_<number>; or "
    "numbers of frames, from 1"
)


@dataclass(frozen=True)
class GivenBoxes:
    """Boxes of one image by another detector.

    Args:
        boxes: (M, 4) float64 XYXY in pixels, or in shares of the image's width and height.
        scores: (M,) float64 from 0 to 1.
        is_relative: whether the boxes are shares.
    """

    boxes: np.ndarray
    scores: np.ndarray
    is_relative: bool = False

    def __len__(self) -> int:
        return len(self.scores)

    def fit(self, width: int, height: int) -> "GivenBoxes":
        """Return the boxes in pixels, clipped to their image; those below a pixel are dropped."""
        sides = np.array([width, height, width, height])
        boxes = (self.boxes * sides if self.is_relative else self.boxes).clip(0, sides)
        kept = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)
        return GivenBoxes(boxes[kept], self.scores[kept])

    def select(self, min_score: float) -> "GivenBoxes":
        """Return the boxes with at least a score."""
        kept = self.scores >= min_score
        return GivenBoxes(self.boxes[kept], self.scores[kept], self.is_relative)


FileBoxes = Mapping[int | None, GivenBoxes]
"""Boxes of an image (key None), or of frames of a video by their number from 1."""


def select_boxes(boxes: FileBoxes, min_score: float) -> FileBoxes:
    """Return the boxes with at least a score; images and frames without one are left out."""
    selected = {frame: given.select(min_score) for frame, given in boxes.items()}
    return {frame: given for frame, given in selected.items() if len(given)}


def hash_boxes(boxes: FileBoxes) -> str:
    """Return a text that differs for other boxes of a file."""
    digest = hashlib.sha256()
    for frame, given in sorted(boxes.items(), key=lambda item: item[0] or 0):
        digest.update(f"{frame} {len(given)} {given.is_relative}".encode())
        digest.update(given.boxes.tobytes() + given.scores.tobytes())
    return digest.hexdigest()[:16]


class AssignedBoxes(NamedTuple):
    """Boxes of files.

    Args:
        files: boxes by path; files without boxes are left out.
        unused: names in the detections that fit none of the files.
    """

    files: dict[str, FileBoxes]
    unused: list[str | int]


@dataclass(frozen=True)
class GivenDetections:
    """Detections in a file of another program.

    Args:
        path: the file or folder.
        boxes: boxes by the name or number of their image or frame.
        counts_frames: whether numbers are those of frames in order, from 1.
    """

    path: str
    boxes: Mapping[str | int, GivenBoxes]
    counts_frames: bool = False

    def __len__(self) -> int:
        """Return the number of boxes."""
        return sum(map(len, self.boxes.values()))

    def assign(self, images: Sequence[str], videos: Sequence[str] = ()) -> AssignedBoxes:
        """Find the image or frame of each name.

        Args:
            images: absolute paths of images.
            videos: absolute paths of videos.

        Raises:
            InputError: no name fits, a name fits several files, or numbers do not tell the file.
        """
        files: dict[str, dict[int | None, GivenBoxes]] = defaultdict(dict)
        names: dict[tuple[str, int | None], str | int] = {}
        unused = []
        by_number = self._number(images, videos)
        by_name = _NamedFiles(images, videos)
        for name, given in self.boxes.items():
            found = by_number.get(name, []) if isinstance(name, int) else by_name.find(name)
            if len(found) > 1:
                paths = " and ".join(path for path, _ in found[:2])
                raise InputError(
                    f"{self.path}: {name!r} fits {paths}; expected names that fit one file, such "
                    "as those with folders"
                )
            if not found:
                unused.append(name)
                continue
            if (other := names.setdefault(found[0], name)) != name:
                raise InputError(
                    f"{self.path}: {other!r} and {name!r} are both {found[0][0]}; expected one"
                )
            path, frame = found[0]
            files[path][frame] = given
        if self.boxes and not files:
            raise InputError(
                f"{self.path}: {show_value(unused[0])} and {count_noun(len(unused) - 1, 'other')} "
                f"fit none of the {count_noun(len(images), 'image')} and "
                f"{count_noun(len(videos), 'video')}; expected {_EXPECTED}"
            )
        return AssignedBoxes(dict(files), unused)

    def _number(
        self, images: Sequence[str], videos: Sequence[str]
    ) -> dict[int, list[tuple[str, int | None]]]:
        """Return the images or frames of each number."""
        numbers = [name for name in self.boxes if isinstance(name, int)]
        if not numbers:
            return {}
        if len(videos) == 1 and not images:
            return {number: [(videos[0], number)] for number in numbers}
        folders = Counter(str(Path(path).parent) for path in images)
        if videos or (self.counts_frames and len(folders) > 1):
            raise InputError(
                f"{self.path}: numbers its frames; expected one video or one folder of frames, "
                f"but {count_noun(len(videos), 'video')} and "
                f"{count_noun(len(folders), 'folder')} of images are given"
            )
        if self.counts_frames:
            frames = number_frames([Path(path) for path in images])
            return {number: [(str(path), None)] for number, path in frames.items()}
        return _group(
            (int(Path(path).stem), (path, None)) for path in images if is_number(Path(path).stem)
        )


class _NamedFiles:
    """Files by the ends of their paths.

    Args:
        images: absolute paths.
        videos: absolute paths.
    """

    def __init__(self, images: Sequence[str], videos: Sequence[str]) -> None:
        self._images = _group((tail, path) for path in images for tail in _tails(path))
        self._videos = _group((tail, path) for path in videos for tail in _tails(path))

    def find(self, name: str) -> list[tuple[str, int | None]]:
        """Return the images or frames that a name fits."""
        *folders, tail = PurePosixPath(name.replace("\\", "/")).parts or ("",)
        found: list[tuple[str, int | None]] = [
            (path, None) for path in self._images.get(tail, ()) if _is_in(path, folders)
        ]
        if not found and (numbered := re.fullmatch(r"(.+)_([0-9]{1,18})", tail)):
            video, number = numbered.groups()
            paths = self._videos.get(video, ())
            found = [(path, int(number)) for path in paths if _is_in(path, folders)]
        return found


def _tails(path: str) -> set[str]:
    return {Path(path).name, Path(path).stem}


def _is_in(path: str, folders: Sequence[str]) -> bool:
    """Return whether the innermost folders of a path are these."""
    return not folders or list(Path(path).parent.parts[-len(folders) :]) == list(folders)


def _group(pairs: Iterable[tuple]) -> dict:
    groups: dict = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups
