"""Videos through OpenCV: frames in order, upright, numbered by their time stamps.

H x W: size of an upright frame in pixels.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import cv2
import numpy as np

from clsa_search.errors import InputError

_DEFAULT_FPS = 25.0  # OpenCV's own value for files without a frame rate
_SEEK_FROM = 100  # frames ahead; nearer frames are reached faster by reading on
_SEEK_MARGIN = 5  # frames; decoders need some before their output is right


class VideoFrame(NamedTuple):
    """One decoded frame.

    Args:
        number: frame number from 0, see :class:`Video`.
        time: seconds since the start of the video.
        image: (H, W, 3) RGB uint8.
    """

    number: int
    time: float
    image: np.ndarray


class Video:
    """A video with frame numbers from time stamps: frame = round(seconds * fps).

    With a constant frame rate this equals counting. With a varying rate (phones) OpenCV's own
    numbers depend on earlier seeks, but time stamps do not. If two frames get the same number, it
    belongs to the first one.

    Args:
        path: video file.

    Attributes:
        fps: nominal frames per second.
        num_frames: number of frames in the header; it may be wrong or negative.
        frame: number of the current frame; -1 before the first :meth:`grab`.
        time: seconds since the start, of the current frame.
        is_first: whether the current frame is the first one with its number.

    Raises:
        InputError: the file is missing or cannot be opened as a video.
    """

    path: str
    fps: float
    num_frames: float
    frame: int
    time: float
    is_first: bool
    _count: int  # frames since the last seek

    def __init__(self, path: str) -> None:
        if not os.path.isfile(path):
            raise InputError(f"{path}: does not exist; expected a video")
        self.path = path
        self._open()

    def grab(self) -> bool:
        """Advance to the next frame; return False at the end of the video."""
        if not self._capture.grab():
            return False
        stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        # 0 is the stamp of the first frame, and of every frame in files without time stamps
        self.time = stamp if stamp > 0 else self._count / self.fps
        previous, self.frame = self.frame, round(self.time * self.fps)
        self.is_first = self.frame > previous
        self._count += 1
        return True

    def seek(self, frame: int) -> None:
        """Move to a frame.

        Raises:
            InputError: the video has no readable frame of this number.
        """
        margin = _SEEK_MARGIN
        if not self.frame <= frame < self.frame + _SEEK_FROM:
            while not self._jump(frame - margin) or self.frame >= frame > 0:
                margin *= 4
        while self.frame < frame:
            if not self.grab():
                break
        if self.frame != frame:
            raise InputError(f"{self.path}: has no frame {frame} that can be read")

    def retrieve(self) -> np.ndarray:
        """Decode the current frame, (H, W, 3) RGB uint8, turned upright.

        Raises:
            InputError: the frame cannot be decoded.
        """
        is_read, image = self._capture.retrieve()
        if not is_read:
            raise InputError(f"{self.path}: frame {self.frame} cannot be decoded")
        image = np.rot90(image, -self._quarter_turns)
        return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2RGB)

    def close(self) -> None:
        """Release the file."""
        self._capture.release()

    def _open(self) -> None:
        self._capture = cv2.VideoCapture(self.path)
        if not self._capture.isOpened():
            raise InputError(
                f"{self.path}: not readable as a video; expected a format that OpenCV decodes"
            )
        self._quarter_turns = _turn_upright(self._capture)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps < 1000 else _DEFAULT_FPS
        self.num_frames = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.frame, self.time, self.is_first, self._count = -1, 0.0, True, 0

    def _jump(self, frame: int) -> bool:
        """Move near a frame, or to the start; return False if the new position is unknown."""
        if frame <= 0:
            self.close()
            self._open()
            return True
        self._capture.set(cv2.CAP_PROP_POS_MSEC, 1000 * frame / self.fps)
        self._count = 0
        return self.grab() and self.frame > 0


def sample_video(path: str, rate: float, start: int = 0) -> Iterator[VideoFrame]:
    """Yield the first frame of every 1 / rate seconds.

    Args:
        path: video file.
        rate: frames per second, at most; missing frames are not repeated.
        start: first frame to yield. The choice of frames does not depend on it.

    Raises:
        InputError: the file is not a readable video, or, after its last frame, the video ends a
            second or more before the length in its header.
    """
    with closing(Video(path)) as video:
        last_period, count = -1, 0
        while video.grab():
            count += 1
            period = int(video.time * rate + 1e-6)
            if period == last_period or not video.is_first:
                continue
            last_period = period
            if video.frame >= start:
                yield VideoFrame(video.frame, video.time, video.retrieve())
        if not count:
            raise InputError(f"{path}: has no frame that can be read; expected a video")
        if video.num_frames - count >= max(video.fps, 2):
            raise InputError(
                f"{path}: ends after {count} frames at {video.time:.1f} s; "
                f"expected {video.num_frames:.0f}: the file is cut short or damaged"
            )


def count_samples(path: str, rate: float) -> int:
    """Estimate the number of frames of :func:`sample_video` from the header; 0 if unknown."""
    try:
        with closing(Video(path)) as video:
            fps, frames = video.fps, video.num_frames
    except InputError:
        return 0
    return max(1, int(frames / fps * min(rate, fps))) if 0 < frames < 1e9 else 0


def locate_frame(path: str, frame: int) -> float | None:
    """Return the seconds from the start of a video to a frame; None for an unreadable video."""
    try:
        with closing(Video(path)) as video:
            return frame / video.fps
    except InputError:
        return None


def _turn_upright(capture: cv2.VideoCapture) -> int:
    """Let OpenCV apply the rotation of the container; return the quarter turns left to do."""
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    if capture.get(cv2.CAP_PROP_ORIENTATION_AUTO) == 1:
        return 0
    return round(capture.get(cv2.CAP_PROP_ORIENTATION_META) / 90) % 4
