"""Images and frames read again, to show stored detections."""

import os
from contextlib import closing

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
        if not os.path.isfile(source):
            raise InputError(f"{source}: does not exist; expected an image or a video")
        try:
            return self._read(source, frame)
        except InputError:
            raise
        except Exception as error:  # any fault of a decoder is the file's
            raise InputError(f"{source}: cannot be read: {error!r}") from error

    def close(self) -> None:
        """Close the open video."""
        if self._video is not None:
            self._video.close()
        self._video = None

    def _read(self, source: str, frame: int | None) -> np.ndarray:
        if frame is None:
            return read_image(source, "RGB")
        if self._video is None or source != self._video.path:
            self.close()
            self._video = Video(source)
        self._video.seek(frame)
        return self._video.retrieve()


def read_frame(source: str, frame: int | None) -> np.ndarray:
    """Read one image or frame, see :meth:`FrameReader.read`."""
    with closing(FrameReader()) as reader:
        return reader.read(source, frame)
