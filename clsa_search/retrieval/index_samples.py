"""Images and frames on their way through the indexer."""

from collections.abc import Sequence
from typing import NamedTuple

from clsa_search.retrieval.index_planner import PlannedFile
from clsa_search.structures import ImageDetections


class Sample(NamedTuple):
    """An image or a frame to index, or the end of a file.

    Args:
        file: its file.
        model_input: prepared image; None at the end of a video, for an image without given boxes,
            and after a problem.
        frame: frame number; None for an image and for the end of a video.
        time: seconds; None if unknown.
        problem: reason why this frame, or without a frame number the rest of the file, is missing.
    """

    file: PlannedFile
    model_input: dict | None = None
    frame: int | None = None
    time: float | None = None
    problem: str | None = None


class Batch(NamedTuple):
    """Samples that are stored together.

    Args:
        samples: the samples, in order.
        detections: those of the images and frames, by their position in `samples`.
    """

    samples: Sequence[Sample]
    detections: dict[int, ImageDetections]
