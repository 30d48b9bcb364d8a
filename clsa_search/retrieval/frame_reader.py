"""Images and frames read again, to show stored detections."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np

from clsa_search.data.image_io import read_image
from clsa_search.errors import InputError
from clsa_search.retrieval.video import Video


class FrameReader:
    """Read images and single frames of videos; the last video stays open for further frames."""

    def __init__(self) -> None:
        self._video: Video | None = None

    def read(self, source: str, frame: int | None) -> np.ndarray:
        """Read an image or a frame of a video.

        Args:
            source: path of an image or a video.
            frame: frame number, see :class:`Video`; None for an image.

        Returns:
            (H, W, 3) RGB uint8, upright.

        Raises:
            InputError: the file is missing or unreadable, or has no such frame.
        """
        with _reported(source):
            if frame is None:
                return read_image(source, "RGB")
            video = self.open(source)
            video.seek(frame)
            return video.retrieve()

    def read_from(self, source: str, frame: int) -> tuple[int, np.ndarray]:
        """Read the first frame of a video from a number on.

        Returns:
            Number of the frame, and its image as from :meth:`read`.

        Raises:
            InputError: the file is missing or unreadable, or ends before.
        """
        with _reported(source):
            video = self.open(source)
            try:
                video.seek(frame)
            except InputError:
                if video.frame < frame:
                    raise
            return video.frame, video.retrieve()

    def open(self, source: str) -> Video:
        """Return the open video of a path.

        Raises:
            InputError: the file is not readable as a video.
        """
        if self._video is None or source != self._video.path:
            self.close()
            self._video = Video(source)
        return self._video

    def close(self) -> None:
        """Close the open video."""
        if self._video is not None:
            self._video.close()
        self._video = None


@contextmanager
def _reported(source: str) -> Iterator[None]:
    """Raise every fault of a decoder as one of the file."""
    if not os.path.isfile(source):
        raise InputError(f"{source}: does not exist; expected an image or a video")
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{source}: cannot be read: {error!r}") from error


def read_frame(source: str, frame: int | None) -> np.ndarray:
    """Read one image or frame, see :meth:`FrameReader.read`."""
    with closing(FrameReader()) as reader:
        return reader.read(source, frame)
