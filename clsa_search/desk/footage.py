"""Frames of indexed files for the desk: by id of a source, unchanged files only.

No path comes from a client: a source is named by a hash of its path.
"""

import mimetypes
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from clsa_search.data.image_io import IMAGE_SUFFIXES
from clsa_search.desk.http_errors import NotFound
from clsa_search.desk.work_gates import Gate
from clsa_search.errors import InputError
from clsa_search.gallery import StoredDetection
from clsa_search.retrieval.frame_reader import FrameReader
from clsa_search.retrieval.gallery_search import GallerySearch
from clsa_search.retrieval.result_images import check_unchanged
from clsa_search.retrieval.search_answers import name_source
from clsa_search.retrieval.video_clips import TimedBox, animate_span
from clsa_search.structures import PersonImage

_MAX_OPEN = 8  # videos
_MAX_CACHE_BYTES = 64 << 20
_FAR, _FAR_SECONDS = 2.0, 60.0  # beyond the length in a header, which may be wrong
_PATHS_SECONDS = 2.0  # a deletion by another process is seen after this time


def is_video(path: str) -> bool:
    """Return whether an indexed file is a video and not an image, by its name."""
    return os.path.splitext(path)[1].lower() not in IMAGE_SUFFIXES


def guess_media_type(path: str) -> str:
    """Return the type of an image or a video for browsers; never one with scripts."""
    kind = mimetypes.guess_type(f"name{os.path.splitext(path)[1]}")[0] or ""
    is_media = kind.startswith(("image/", "video/")) and "svg" not in kind
    return kind if is_media else "application/octet-stream"


@dataclass(frozen=True)
class VideoFacts:
    """Facts from the header of a video.

    Args:
        fps: frames per second.
        seconds: length; None if it is not declared.
    """

    fps: float
    seconds: float | None


class Footage:
    """Reads frames of the gallery's files; several threads may do so.

    Args:
        gallery: gallery with the files.
    """

    def __init__(self, gallery: GallerySearch) -> None:
        self._gallery = gallery
        self._gate = Gate("footage", slots=4, waiting=24)
        self._lock = threading.Lock()
        self._paths: dict[str, str] = {}
        self._paths_read = -_PATHS_SECONDS
        self._idle: OrderedDict[tuple, FrameReader] = OrderedDict()
        self._facts: dict[tuple, VideoFacts] = {}
        self._cache: OrderedDict[tuple, bytes] = OrderedDict()

    def find_path(self, source_id: str) -> str:
        """Return the path of a source.

        Raises:
            NotFound: there is no such source.
        """
        with self._lock:
            if time.monotonic() - self._paths_read > _PATHS_SECONDS:
                self._paths = {name_source(path): path for path in self._gallery.store.paths()}
                self._paths_read = time.monotonic()
            if source_id not in self._paths:
                raise NotFound(f"source: {source_id} is not in the gallery; expected one of it")
            return self._paths[source_id]

    def forget(self) -> None:
        """Forget all files and images, as after a deletion."""
        with self._lock:
            self._paths_read = -_PATHS_SECONDS
            self._cache.clear()
            self._facts.clear()
            while self._idle:
                self._idle.popitem()[1].close()

    def check_file(self, path: str) -> os.stat_result:
        """Return the state of an indexed file.

        Raises:
            InputError: it is gone or changed since it was indexed.
        """
        check_unchanged(path, self._gallery.get_fingerprints([path])[path])
        return _read_state(path)

    def read_frame(self, path: str, frame: int | None) -> np.ndarray:
        """Read an image, or a frame of a video, as (H, W, 3) RGB uint8.

        Raises:
            InputError: the file is gone, changed or unreadable, or has no such frame.
            Busy: too many frames are read already.
        """
        self.check_file(path)
        with self._gate.enter(), self._borrow(path) as reader:
            return reader.read(path, frame)

    def read_moment(self, path: str, seconds: float) -> tuple[int | None, np.ndarray]:
        """Read the frame of a video at a moment, or an image.

        Returns:
            Number of the frame, None for an image; the image as from `read_frame`.

        Raises:
            InputError: see `read_frame`.
        """
        if not is_video(path):
            return None, self.read_frame(path, None)
        facts = self.read_facts(path)
        frame = round(seconds * facts.fps)
        if facts.seconds is not None and seconds < facts.seconds + 1 / facts.fps:
            # a player that reached the end stands behind the last frame
            frame = min(frame, max(0, round(facts.seconds * facts.fps) - 1))
        elif facts.seconds is not None and seconds > _FAR * facts.seconds + _FAR_SECONDS:
            length = f"{facts.seconds:.1f} s"  # all frames would be read to find none
            raise InputError(f"seconds: {seconds:g}; expected a moment of the video of {length}")
        with self._gate.enter(), self._borrow(path) as reader:
            return reader.read_from(path, frame)

    def read_person(self, detection: StoredDetection) -> PersonImage:
        """Read the image of a detection.

        Raises:
            InputError: see `read_frame`.
        """
        image = self.read_frame(detection.source, detection.frame)
        return PersonImage(image, np.array(detection.box))

    def read_facts(self, path: str) -> VideoFacts:
        """Return facts from the header of a video.

        Raises:
            InputError: the file is gone, changed or not readable as a video.
        """
        key = _file_key(path, self.check_file(path))
        if key not in self._facts:
            with self._gate.enter(), self._borrow(path) as reader:
                video = reader.open(path)
                frames = video.num_frames
                self._facts[key] = VideoFacts(video.fps, frames and frames / video.fps)
        return self._facts[key]

    def animate(self, path: str, start: float, stop: float, boxes: Sequence[TimedBox]) -> bytes:
        """Return a span of a video as an animated WebP, see :func:`animate_span`.

        Raises:
            InputError: see `read_frame`.
        """
        self.check_file(path)
        with self._gate.enter():
            return animate_span(path, start, stop, boxes)

    def remember(self, key: tuple, make: Callable[[], bytes]) -> bytes:
        """Return the bytes of a key; make them if they are not kept."""
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        content = make()
        with self._lock:
            self._cache[key] = content
            size = sum(map(len, self._cache.values()))
            while size > _MAX_CACHE_BYTES:
                size -= len(self._cache.popitem(last=False)[1])
        return content

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Let few threads decode or encode images at a time.

        Raises:
            Busy: too many wait already.
        """
        with self._gate.enter():
            yield

    @contextmanager
    def _borrow(self, path: str) -> Iterator[FrameReader]:
        """Lend a reader to one thread; an open video is read on.

        Raises:
            InputError: the file is gone.
        """
        key = _file_key(path, _read_state(path))
        with self._lock:
            reader = self._idle.pop(key, None) or FrameReader()
        yield reader
        with self._lock:  # after an error the reader is dropped
            old = self._idle.pop(key, None)
            self._idle[key] = reader
            if len(self._idle) > _MAX_OPEN:
                self._idle.popitem(last=False)[1].close()
        if old is not None:
            old.close()


def _read_state(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected an image or a video") from error


def _file_key(path: str, state: os.stat_result) -> tuple:
    return path, state.st_ino, state.st_size, state.st_mtime_ns
