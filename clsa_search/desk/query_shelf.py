"""Query images kept in memory for an hour, to search people and boxes of them.

Shape letters: H x W an image in pixels, D embedding width.
"""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from clsa_search.desk.http_errors import NotFound
from clsa_search.desk.pictures import read_upload
from clsa_search.structures import ImageDetections

KEPT_SECONDS = 3600.0
MAX_KEPT_BYTES = 256 << 20


@dataclass(frozen=True)
class QueryImage:
    """An image to choose a person from.

    Args:
        name: name of the image for people.
        content: the encoded image.
        size: width and height in pixels, upright.
        detections: detections of the image, boxes in its pixels.
        ids: ids of the detections, if they are stored ones.
        source: path of the indexed file, if it is a frame of one.
        frame: number of the frame in its video.
        time: time of the frame.
    """

    name: str
    content: bytes
    size: tuple[int, int]
    detections: ImageDetections
    ids: Sequence[int] = ()
    source: str | None = None
    frame: int | None = None
    time: float | None = None

    def decode(self) -> np.ndarray:
        """Return the image (H, W, 3) RGB uint8."""
        return read_upload(self.content)


class QueryShelf:
    """Keeps the most recent query images, within bounds of time and of memory."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[float, QueryImage]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, image: QueryImage) -> str:
        """Keep an image; return its random id."""
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._kept[key] = time.monotonic(), image
            self._drop()
        return key

    def get(self, key: str) -> QueryImage:
        """Return a kept image.

        Raises:
            NotFound: it is too old, or there was none.
        """
        with self._lock:
            self._drop()
            if key not in self._kept:
                raise NotFound("query: is not kept any more; expected the image once more")
            return self._kept[key][1]

    def forget_footage(self, is_kept: Callable[[QueryImage], bool]) -> None:
        """Forget frames of the gallery, as after a deletion; uploaded images stay.

        Args:
            is_kept: says whether a frame stays.
        """
        with self._lock:
            frames = [key for key, (_, one) in self._kept.items() if one.source is not None]
            for key in frames:
                if not is_kept(self._kept[key][1]):
                    del self._kept[key]

    def clear(self) -> None:
        """Forget all images."""
        with self._lock:
            self._kept.clear()

    def _drop(self) -> None:
        """Drop the oldest images beyond the bounds."""
        size = sum(len(image.content) for _, image in self._kept.values())
        for key, (start, image) in list(self._kept.items()):
            if time.monotonic() - start < KEPT_SECONDS and size <= MAX_KEPT_BYTES:
                break
            size -= len(image.content)
            del self._kept[key]
