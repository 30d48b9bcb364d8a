"""Clips of videos: the original span without encoding, or an animated image with boxes.

The program ffmpeg copies spans if it is on PATH. Pillow writes animated WebP; every browser
plays it, and no encoder of videos is needed.
"""

import io
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import closing, suppress
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from clsa_search.errors import InputError
from clsa_search.retrieval.video import Video
from clsa_search.visualize.boxes import draw_outlined_box
from clsa_search.visualize.resizing import shrink

MAX_ANIMATION_SECONDS, ANIMATION_RATE = 10.0, 5
_ANIMATION_SIZE = 640, 480  # pixels, at most
_BOX_COLOR, _BOX_SECONDS = (230, 159, 0), 1.5  # a box is shown so long after a lone detection
_COPY_SECONDS = 600  # for the program to end
# demuxers by suffix: a file that names other files, such as a playlist, is none of these
_DEMUXERS = {
    **dict.fromkeys((".mp4", ".m4v", ".mov", ".3gp", ".3g2"), "mov"),
    **dict.fromkeys((".mkv", ".webm"), "matroska"),
    **dict.fromkeys((".ts", ".mts", ".m2ts"), "mpegts"),
    **dict.fromkeys((".mpg", ".mpeg", ".vob"), "mpeg"),
    **dict.fromkeys((".asf", ".wmv"), "asf"),
    ".avi": "avi",
    ".flv": "flv",
    ".mxf": "mxf",
}


class TimedBox(NamedTuple):
    """A box at a time of a video.

    Args:
        seconds: time from the start of the video.
        box: XYXY in pixels.
    """

    seconds: float
    box: tuple[float, float, float, float]


class Clip(NamedTuple):
    """A part of a video.

    Args:
        content: bytes of the file.
        suffix: suffix of its name.
        is_original: whether these are the original packets of the video; they begin at the key
            frame before the span.
    """

    content: bytes
    suffix: str
    is_original: bool


def cut_clip(path: str, start: float, stop: float, boxes: Sequence[TimedBox] = ()) -> Clip:
    """Cut a span out of a video.

    Args:
        path: video.
        start: first second of the span; it may lie before the video.
        stop: last second of the span.
        boxes: boxes to draw, in the order of time; original packets stay without.

    Returns:
        The original packets if ffmpeg copies them, otherwise an animation around the boxes.

    Raises:
        InputError: the video is missing or unreadable.
    """
    start = max(0.0, start)
    copied = copy_span(path, start, stop)
    if copied is not None:
        return Clip(copied, os.path.splitext(path)[1].lower(), is_original=True)
    if stop - start > MAX_ANIMATION_SECONDS:
        if boxes:
            middle = boxes[len(boxes) // 2].seconds
            start = max(0.0, min(middle - MAX_ANIMATION_SECONDS / 2, stop - MAX_ANIMATION_SECONDS))
        stop = start + MAX_ANIMATION_SECONDS
    return Clip(animate_span(path, start, stop, boxes), ".webp", is_original=False)


def copy_span(path: str, start: float, stop: float) -> bytes | None:
    """Copy the packets of a span, from the key frame before it; see :func:`cut_clip`.

    Returns:
        Bytes of a file with the suffix of `path`; None if ffmpeg is missing or cannot copy it.

    Raises:
        InputError: the video is missing.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path}: does not exist; expected a video")
    program, suffix = shutil.which("ffmpeg"), os.path.splitext(path)[1].lower()
    if program is None or suffix not in _DEMUXERS:
        return None
    with tempfile.TemporaryDirectory() as folder:
        target = os.path.join(folder, f"clip{suffix}")
        words = [program, "-nostdin", "-loglevel", "error", "-protocol_whitelist", "file"]
        words += ["-f", _DEMUXERS[suffix], "-ss", f"{start:.3f}", "-t", f"{stop - start:.3f}"]
        words += ["-i", f"file:{os.path.abspath(path)}", "-map", "0:v:0", "-map", "0:a?"]
        words += ["-c", "copy", "-fflags", "+bitexact", "-map_metadata", "-1"]
        words += ["-avoid_negative_ts", "make_zero", f"file:{target}"]
        try:
            subprocess.run(words, check=True, capture_output=True, timeout=_COPY_SECONDS)
            with open(target, "rb") as file:
                content = file.read()
            with closing(Video(target)) as video:  # a copy without a frame is none
                return content if video.grab() else None
        except (OSError, subprocess.SubprocessError, InputError):
            return None


def animate_span(path: str, start: float, stop: float, boxes: Sequence[TimedBox] = ()) -> bytes:
    """Return an animated WebP of a span, with boxes; see :func:`cut_clip`.

    Raises:
        InputError: the span has no readable frame, or is longer than `MAX_ANIMATION_SECONDS`.
    """
    if not 0 <= start < stop <= start + MAX_ANIMATION_SECONDS + 1e-6:
        raise InputError(
            f"{path}: span from {start:g} s to {stop:g} s; expected at most "
            f"{MAX_ANIMATION_SECONDS:g} s from 0 on"
        )
    try:
        frames = _read_span(path, start, stop, boxes)
    except InputError:
        raise
    except Exception as error:  # any fault of a decoder is the file's
        raise InputError(f"{path}: cannot be read: {error!r}") from error
    file = io.BytesIO()
    frames[0].save(
        file,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=round(1000 / ANIMATION_RATE),
        loop=0,
        quality=70,
        method=2,
    )
    return file.getvalue()


def find_box(boxes: Sequence[TimedBox], seconds: float) -> np.ndarray | None:
    """Return the box (4,) at a time, between those before and after it; None if there is none.

    Args:
        boxes: boxes in the order of time.
        seconds: time from the start of the video.
    """
    if not boxes or not boxes[0].seconds - 0.5 <= seconds <= boxes[-1].seconds + _BOX_SECONDS:
        return None
    for one, other in pairwise(boxes):
        if one.seconds <= seconds <= other.seconds:
            length = other.seconds - one.seconds
            if length > 2 * _BOX_SECONDS:  # nobody was seen between
                near = one if seconds - one.seconds < other.seconds - seconds else other
                is_near = abs(near.seconds - seconds) <= _BOX_SECONDS
                return np.array(near.box) if is_near else None
            share = (seconds - one.seconds) / length if length else 0.0
            return (1 - share) * np.array(one.box) + share * np.array(other.box)
    return np.array(boxes[0].box if seconds < boxes[0].seconds else boxes[-1].box)


def _read_span(
    path: str, start: float, stop: float, boxes: Sequence[TimedBox]
) -> list[Image.Image]:
    images, last_period = [], -1
    with closing(Video(path)) as video:
        first = math.floor(start * video.fps)
        if first > 0:
            with suppress(InputError):  # of a varying rate: it stops at the next frame
                video.seek(first)
        has_frame = video.frame >= 0 or video.grab()
        while has_frame and video.time <= stop:
            period = int((video.time - start) * ANIMATION_RATE + 1e-6)
            if video.time >= start - 1e-6 and period != last_period:
                last_period = period
                images.append(_draw(video.retrieve(), find_box(boxes, video.time)))
            has_frame = video.grab()
    if not images:
        raise InputError(f"{path}: has no frame from {start:g} s to {stop:g} s")
    return images


def _draw(pixels: np.ndarray, box: np.ndarray | None) -> Image.Image:
    corners = np.zeros(4) if box is None else box
    pixels, corners = shrink(pixels, corners, _ANIMATION_SIZE)
    image = Image.fromarray(pixels)
    if box is not None:
        draw_outlined_box(ImageDraw.Draw(image), corners, _BOX_COLOR, line=2)
    return image
