"""Videos through OpenCV: frames in order, upright, of square pixels, numbered by time stamps.

H x W: size of an upright frame in pixels.
"""

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import NamedTuple

import cv2
import numpy as np

from clsa_search.errors import InputError
from clsa_search.retrieval.video_container import (
    JOIN_SECONDS,
    has_one_timeline,
    is_whole,
    read_packet_times,
)
from clsa_search.wording import count_noun

_DEFAULT_FPS = 25.0  # OpenCV's own value for files without a frame rate
_SEEK_FROM = 100  # frames ahead; nearer frames are reached faster by reading on
_SEEK_MARGIN = 5  # frames; decoders need some before their output is right
_MAX_FRAMES = 1e9  # in a header; files written to a pipe declare 2 ** 30 or more
_MAX_STRETCH = 4.0  # of pixels in either direction; headers with more are damaged


class VideoFrame(NamedTuple):
    """One decoded frame.

    Args:
        number: frame number from 0, see :class:`Video`.
        time: seconds since the start of the video.
        image: (H, W, 3) RGB uint8.
        position: number of frames up to this one, from 1, as other programs count them.
    """

    number: int
    time: float
    image: np.ndarray
    position: int


class Video:
    """A video with frame numbers from time stamps: frame = round(seconds * fps).

    With a constant frame rate this equals counting. With a varying rate (phones) OpenCV's own
    numbers depend on earlier seeks, but time stamps do not. If two frames get the same number, it
    belongs to the first one. Where time stamps fall back, another recording begins: its times and
    numbers continue those before it.

    Args:
        path: video file.

    Attributes:
        fps: nominal frames per second.
        num_frames: number of frames in the header; None if it declares none.
        frame: number of the current frame; -1 before the first :meth:`grab`.
        time: seconds since the start, of the current frame.
        is_first: whether the current frame is the first one with its number.

    Raises:
        InputError: the file is missing or cannot be opened as a video.
    """

    path: str
    fps: float
    num_frames: float | None
    frame: int
    time: float
    is_first: bool
    _shift: float  # seconds from time stamps to times, after the time stamps fell back
    _earlier_shift: float  # before they fell back last
    _may_jump: bool | None  # None: not known yet

    def __init__(self, path: str) -> None:
        if not os.path.isfile(path):
            raise InputError(f"{path}: does not exist; expected a video")
        self.path = path
        self._may_jump = None
        self._open()

    def grab(self) -> bool:
        """Advance to the next frame; return False at the end of the video."""
        if not self._capture.grab():
            return False
        previous, self.time = self.frame, self._read_time()
        self.frame = round(self.time * self.fps)
        self.is_first = self.frame > previous
        return True

    def seek(self, frame: int) -> None:
        """Move to a frame.

        Raises:
            InputError: the video has no readable frame of this number.
        """
        margin = _SEEK_MARGIN
        if not self.frame <= frame < self.frame + _SEEK_FROM and self._can_jump(frame):
            while not self._jump(frame - margin) or self.frame >= frame > 0:
                margin *= 4
        while self.frame < frame:
            if not self.grab():
                break
        if self.frame != frame:
            raise InputError(f"{self.path}: has no frame {frame} that can be read")

    def retrieve(self) -> np.ndarray:
        """Decode the current frame, (H, W, 3) RGB uint8, upright and of square pixels.

        Raises:
            InputError: the frame cannot be decoded.
        """
        is_read, image = self._capture.retrieve()
        if not is_read:
            raise InputError(f"{self.path}: frame {self.frame} cannot be decoded")
        stretch = _read_stretch(self._capture)
        if stretch != 1:
            height, width = image.shape[:2]
            image = cv2.resize(image, (round(width * stretch), height))
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
        # versions differ in their default, and 4.11 does not turn when told to: turn here
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        self._quarter_turns = round(self._capture.get(cv2.CAP_PROP_ORIENTATION_META) / 90) % 4
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps < 1000 else _DEFAULT_FPS
        num_frames = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.num_frames = num_frames if 0 < num_frames < _MAX_FRAMES else None
        self.frame, self.time, self.is_first, self._shift = -1, 0.0, True, 0.0
        self._earlier_shift = 0.0

    def _read_time(self) -> float:
        """Return the time of the frame after the current one; it never falls."""
        stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        following = 0.0 if self.frame < 0 else self.time + 1 / self.fps
        if stamp <= 0:  # of the first frame, and of frames without a time stamp
            return following
        if stamp + self._shift < self.time - JOIN_SECONDS:
            self._earlier_shift, self._shift = self._shift, following - stamp
        elif -JOIN_SECONDS <= stamp + self._earlier_shift - self.time < 1:
            # a damaged place may return a few old frames only
            self._shift = self._earlier_shift
        return max(self.time, stamp + self._shift)

    def _can_jump(self, frame: int) -> bool:
        """Return whether a jump finds a frame; otherwise return to the start if it is before."""
        if self._may_jump is None:
            self._may_jump = has_one_timeline(self.path)
        if not self._may_jump and frame < self.frame:
            self._rewind()
        return self._may_jump

    def _jump(self, frame: int) -> bool:
        """Move near a frame, or to the start; return False if the new position is unknown."""
        if frame <= 0:
            self._rewind()
            return True
        self._capture.set(cv2.CAP_PROP_POS_MSEC, 1000 * frame / self.fps)
        self.frame, self.time = -1, 0.0
        return self.grab() and self.frame > 0

    def _rewind(self) -> None:
        self.close()
        self._open()


def sample_video(
    path: str, rate: float, start: int = 0, positions: Iterable[int] | None = None
) -> Iterator[VideoFrame]:
    """Yield the first frame of every 1 / rate seconds.

    Args:
        path: video file.
        rate: frames per second, at most; missing frames are not repeated.
        start: first frame to yield. The choice of frames does not depend on it.
        positions: choose from these frames only, counted from 1; by default from all.

    Raises:
        InputError: the file is not a readable video, or, after its last frame, the video ends
            before the last of `positions`, or a second or more before the length in its header.
    """
    wanted = None if positions is None else set(positions)
    last_position = math.inf if wanted is None else max(wanted, default=0)
    with closing(Video(path)) as video:
        last_period, count = -1, 0
        while count < last_position and video.grab():
            count += 1
            period = int(video.time * rate + 1e-6)
            if period == last_period or not video.is_first:
                continue
            if wanted is not None and count not in wanted:
                continue
            last_period = period
            if video.frame >= start:
                yield VideoFrame(video.frame, video.time, video.retrieve(), count)
        if count == last_position:
            return
        if not count:
            raise InputError(f"{path}: has no frame that can be read; expected a video")
        _check_end(video, count)
        if wanted is not None:
            raise InputError(
                f"{path}: ends after {count_noun(count, 'frame')}; expected frame {last_position}, "
                "which has detections"
            )


def count_samples(path: str, rate: float) -> int:
    """Estimate the number of frames of :func:`sample_video` from the header; 0 if unknown."""
    try:
        with closing(Video(path)) as video:
            fps, frames = video.fps, video.num_frames
    except InputError:
        return 0
    return 0 if frames is None else max(1, int(frames / fps * min(rate, fps)))


def measure_length(path: str) -> float | None:
    """Return the seconds of a video, from its header or its packets; None if unknown."""
    try:
        with closing(Video(path)) as video:
            fps, frames = video.fps, video.num_frames
        if frames is not None:
            return frames / fps
        packets = read_packet_times(path)
    except InputError:
        return None
    return None if packets is None else packets.last + 1 / fps


def locate_frame(path: str, frame: int) -> float | None:
    """Return the seconds from the start of a video to a frame; None for an unreadable video."""
    try:
        with closing(Video(path)) as video:
            return frame / video.fps
    except InputError:
        return None


def _check_end(video: Video, count: int) -> None:
    """Check that a video at its end is whole.

    Raises:
        InputError: a second or more is missing.
    """
    if is_whole(video.path, count, video.time, video.num_frames, video.fps):
        return
    length = f"{video.num_frames / video.fps:.1f} s" if video.num_frames else "more"
    raise InputError(
        f"{video.path}: ends after {count} frames at {video.time:.1f} s; "
        f"expected {length}: the file is cut short or damaged"
    )


def _read_stretch(capture: cv2.VideoCapture) -> float:
    """Return the width of a pixel divided by its height."""
    width, height = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
    stretch = width / height if width > 0 and height > 0 else 1.0
    return stretch if 1 / _MAX_STRETCH <= stretch <= _MAX_STRETCH else 1.0
