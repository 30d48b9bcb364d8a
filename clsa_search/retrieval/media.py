"""Photographs and videos on disk: which there are, their frames in order, one frame again later.

H x W a picture in pixels, as it is viewed: videos are turned as their container says, too.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from clsa_search.data.images import read_image
from clsa_search.errors import InputError

IMAGE_SUFFIXES = frozenset(".bmp .jfif .jpeg .jpg .pgm .png .ppm .tif .tiff .webp".split())
VIDEO_SUFFIXES = frozenset(".avi .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ts .webm .wmv".split())
_QUICKER_TO_SEEK = 100  # from so many frames ahead on


class Listing(NamedTuple):
    """Absolute paths of media, each once, and how many other files were passed over."""

    images: list[str]
    videos: list[str]
    others: int


class Frame(NamedTuple):
    """A picture of a video."""

    index: int  # from 0
    time: float  # seconds since the beginning
    image: np.ndarray  # (H, W, 3) RGB uint8


def list_media(paths: Sequence[str | os.PathLike]) -> Listing:
    """Files as they are named, and what has the name of an image or a video in folders.

    Folders are searched with all their folders, in the order of names; hidden ones are left out.

    Raises:
        InputError: a path does not exist, or a file that is named itself has another suffix.
    """
    images, videos, others = {}, {}, 0
    for path in paths:
        path = os.path.abspath(path)
        if not os.path.exists(path):
            raise InputError(f"{path}: does not exist; expected an image, a video or a folder")
        is_folder = os.path.isdir(path)
        for file in _walk(path) if is_folder else [path]:
            suffix = Path(file).suffix.lower()
            if suffix in IMAGE_SUFFIXES:
                images[file] = None
            elif suffix in VIDEO_SUFFIXES:
                videos[file] = None
            elif is_folder:
                others += 1
            else:
                expected = ", ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
                raise InputError(
                    f"{file}: suffix {suffix!r}; expected a folder or one of {expected}"
                )
    return Listing(list(images), list(videos), others)


def read_video(path: str, rate: float, start: int = 0) -> Iterator[Frame]:
    """The first frame of each 1 / rate seconds, by the video's own time stamps.

    Args:
        path: of the file.
        rate: frames a second, at most; those that the video lacks are not made up.
        start: frames before this one are left out; which are taken does not depend on it.

    Raises:
        InputError: the file is no video that can be read, or, after its frames, it ended a second
            or more before it should have.
    """
    capture = _open(path)
    try:
        fps = capture.get(cv2.CAP_PROP_FPS)
        fps = fps if 0 < fps < 1000 else 25.0  # what OpenCV says where the file does not
        index, time, taken = -1, 0.0, -1
        while capture.grab():
            index += 1
            time = _read_time(capture, index, fps)
            period = int(time * rate + 1e-6)
            if period == taken:
                continue
            taken = period
            if index >= start:
                yield Frame(index, time, _retrieve(capture, path, index))
        announced = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if index < 0:
            raise InputError(f"{path}: has no frame that can be read; expected a video")
        if announced - index - 1 >= max(fps, 2):
            raise InputError(
                f"{path}: ends after frame {index} at {time:.1f} s; "
                f"expected {announced:.0f} frames: the file is cut short or damaged"
            )
    finally:
        capture.release()


def count_samples(path: str, rate: float) -> int:
    """About as many frames as :func:`read_video` yields, by the file's header; 0: not known."""
    capture = cv2.VideoCapture(path)
    fps, frames = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    capture.release()
    if not (0 < fps < 1000 and 0 < frames < 1e9):
        return 0
    return max(1, int(frames / fps * min(rate, fps)))


class FrameReader:
    """Reads stored frames again; of the video that was read last, further ones come quickly."""

    def __init__(self) -> None:
        self._path: str | None = None
        self._capture: cv2.VideoCapture | None = None
        self._next = 0  # frame that grabbing would give

    def read(self, source: str, frame: int | None) -> np.ndarray:
        """
        Args:
            source: path of an image or a video.
            frame: of the video, from 0; None: an image.

        Returns:
            (H, W, 3) RGB uint8.

        Raises:
            InputError: the file is missing or unreadable, or has no such frame.
        """
        if frame is None:
            return read_image(source, "RGB")
        if source != self._path:
            self.close()
            self._capture, self._path, self._next = _open(source), source, 0
        if not 0 <= frame - self._next < _QUICKER_TO_SEEK:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, frame)
            self._next = frame
        while self._next <= frame:
            if not self._capture.grab():
                self.close()
                raise InputError(f"{source}: has no frame {frame} that can be read")
            self._next += 1
        return _retrieve(self._capture, source, frame)

    def close(self) -> None:
        """Close the video."""
        if self._capture is not None:
            self._capture.release()
        self._path = self._capture = None


def read_frame(source: str, frame: int | None) -> np.ndarray:
    """See :meth:`FrameReader.read`."""
    reader = FrameReader()
    try:
        return reader.read(source, frame)
    finally:
        reader.close()


def _walk(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(parent, name) for name in sorted(files) if name[0] != ".")


def _open(path: str) -> cv2.VideoCapture:
    if not os.path.isfile(path):
        raise InputError(f"{path}: does not exist; expected a video")
    capture = cv2.VideoCapture(path)
    if not capture.isOpened():
        raise InputError(f"{path}: not readable as a video; expected a format that OpenCV decodes")
    return capture


def _read_time(capture: cv2.VideoCapture, index: int, fps: float) -> float:
    """Of the frame just grabbed; by its number where the file has no time stamps."""
    time = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
    return time if time > 0 else index / fps


def _retrieve(capture: cv2.VideoCapture, path: str, index: int) -> np.ndarray:
    is_read, image = capture.retrieve()
    if not is_read:
        raise InputError(f"{path}: frame {index} cannot be decoded")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
