"""Photographs and videos on disk: which there are, their frames in order, one frame again later.

H x W a picture in pixels, as it is viewed: videos are turned as their container says, too.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from clsa_search.data.image_io import read_image
from clsa_search.errors import InputError

IMAGE_SUFFIXES = frozenset(".bmp .jfif .jpeg .jpg .pgm .png .ppm .tif .tiff .webp".split())
VIDEO_SUFFIXES = frozenset(".avi .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ts .webm .wmv".split())
_QUICKER_TO_SEEK = 100  # from so many frames ahead on
_SEEK_MARGIN = 5  # frames; decoders need some before they are right


class Listing(NamedTuple):
    """Absolute paths of media, each once; how many other files were passed over; and (path, reason)
    of folders that cannot be read."""

    images: list[str]
    videos: list[str]
    others: int
    problems: list[tuple[str, str]]


class Frame(NamedTuple):
    """A picture of a video."""

    index: int  # from 0; see `_Video`
    time: float  # seconds since the beginning
    image: np.ndarray  # (H, W, 3) RGB uint8


def list_media(paths: Sequence[str | os.PathLike]) -> Listing:
    """Files as they are named, and what has the name of an image or a video in folders.

    Folders are searched with all their folders, in the order of names; hidden ones are left out,
    links are followed.

    Raises:
        InputError: a path cannot be reached, or a file that is named itself has another suffix.
    """
    images, videos, others, problems = {}, {}, 0, []
    for path in paths:
        path = os.path.abspath(path)
        try:
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)
        except OSError as error:
            raise InputError(
                f"{path}: {error.strerror}; expected an image, a video or a folder"
            ) from error
        for file in _walk(path, problems) if is_folder else [path]:
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
    return Listing(list(images), list(videos), others, problems)


def describe_file(path: str) -> str:
    """What tells that a file changed: its size and the time of its last change.

    Raises:
        InputError: it cannot be reached, or is no regular file.
    """
    try:
        state = os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected an image or a video") from error
    if not stat.S_ISREG(state.st_mode):
        raise InputError(f"{path}: is no regular file; expected an image or a video")
    return f"{state.st_size} bytes of {state.st_mtime_ns}"


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
    with closing(_Video(path)) as video:
        announced = video.capture.get(cv2.CAP_PROP_FRAME_COUNT)
        taken, count = -1, 0
        while video.grab():
            count += 1
            period = int(video.time * rate + 1e-6)
            if period == taken or not video.is_first:
                continue
            taken = period
            if video.frame >= start:
                yield Frame(video.frame, video.time, video.retrieve())
        if not count:
            raise InputError(f"{path}: has no frame that can be read; expected a video")
        if announced - count >= max(video.fps, 2):
            raise InputError(
                f"{path}: ends after {count} frames at {video.time:.1f} s; "
                f"expected {announced:.0f}: the file is cut short or damaged"
            )


def count_samples(path: str, rate: float) -> int:
    """About as many frames as :func:`read_video` yields, by the file's header; 0: not known."""
    try:
        with closing(_Video(path)) as video:
            fps, frames = video.fps, video.capture.get(cv2.CAP_PROP_FRAME_COUNT)
    except InputError:
        return 0
    return max(1, int(frames / fps * min(rate, fps))) if 0 < frames < 1e9 else 0


class FrameReader:
    """Reads stored frames again; of the video that was read last, further ones come quickly."""

    def __init__(self) -> None:
        self._video: _Video | None = None

    def read(self, source: str, frame: int | None) -> np.ndarray:
        """
        Args:
            source: path of an image or a video.
            frame: of the video, as :class:`Frame` numbers them; None: an image.

        Returns:
            (H, W, 3) RGB uint8.

        Raises:
            InputError: the file is missing or unreadable, or has no such frame.
        """
        if not os.path.isfile(source):
            raise InputError(f"{source}: does not exist; expected a picture or a video")
        if frame is None:
            return read_image(source, "RGB")
        if self._video is None or source != self._video.path:
            self.close()
            self._video = _Video(source)
        self._video.go_to(frame)
        return self._video.retrieve()

    def close(self) -> None:
        """Close the video."""
        if self._video is not None:
            self._video.close()
        self._video = None


def read_frame(source: str, frame: int | None) -> np.ndarray:
    """See :meth:`FrameReader.read`."""
    with closing(FrameReader()) as reader:
        return reader.read(source, frame)


def locate_frame(source: str, frame: int) -> float | None:
    """Seconds since the beginning of the video; None where it cannot be read."""
    try:
        with closing(_Video(source)) as video:
            return frame / video.fps
    except InputError:
        return None


class _Video:
    """A file whose frames are numbered by their time, in frames of the nominal rate.

    Where the rate is constant that is counting. Where it varies, as telephones have it, OpenCV's
    own numbers change with the way to a frame, but time stamps do not; of frames that come to the
    same number, the first has it.
    """

    def __init__(self, path: str) -> None:
        if not os.path.isfile(path):
            raise InputError(f"{path}: does not exist; expected a video")
        self.path = path
        self._open()

    def _open(self) -> None:
        self.capture = cv2.VideoCapture(self.path)
        if not self.capture.isOpened():
            raise InputError(
                f"{self.path}: not readable as a video; expected a format that OpenCV decodes"
            )
        fps = self.capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps < 1000 else 25.0  # what OpenCV says where the file does not
        self.frame, self.time, self.is_first, self._count = -1, 0.0, True, 0

    def grab(self) -> bool:
        """Go to the next frame; False at the end."""
        if not self.capture.grab():
            return False
        stamp = self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        # the first frame's is 0, as are all where the file has none
        self.time = stamp if stamp > 0 else self._count / self.fps
        before, self.frame = self.frame, round(self.time * self.fps)
        self.is_first = self.frame > before
        self._count += 1
        return True

    def go_to(self, frame: int) -> None:
        """Go to a frame; raises InputError where there is none of that number."""
        margin = _SEEK_MARGIN
        if not self.frame <= frame < self.frame + _QUICKER_TO_SEEK:
            while not self._jump(frame - margin) or self.frame >= frame > 0:
                margin *= 4
        while self.frame < frame:
            if not self.grab():
                break
        if self.frame != frame:
            raise InputError(f"{self.path}: has no frame {frame} that can be read")

    def retrieve(self) -> np.ndarray:
        """The picture at hand (H, W, 3), RGB."""
        is_read, image = self.capture.retrieve()
        if not is_read:
            raise InputError(f"{self.path}: frame {self.frame} cannot be decoded")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def close(self) -> None:
        self.capture.release()

    def _jump(self, frame: int) -> bool:
        """Go near a frame, or to the beginning where that is before it; False: nobody knows where
        that is."""
        if frame <= 0:
            self.close()
            self._open()
            return True
        self.capture.set(cv2.CAP_PROP_POS_MSEC, 1000 * frame / self.fps)
        self._count = 0
        return self.grab() and self.frame > 0


def _walk(folder: str, problems: list[tuple[str, str]]) -> Iterator[str]:
    """Files of a folder and its folders; adds those that cannot be read to the problems."""

    def note(error: OSError) -> None:
        problems.append((error.filename, f"{error.filename}: {error.strerror}"))

    seen = set()
    for parent, folders, files in os.walk(folder, onerror=note, followlinks=True):
        place = os.path.realpath(parent)
        if place in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(parent, name) for name in sorted(files) if name[0] != ".")
