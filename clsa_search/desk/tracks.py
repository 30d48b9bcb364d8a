"""Tracks of people in files, for a player: seconds, boxes, clips."""

import os
from collections.abc import Sequence
from typing import Any

from clsa_search.data.image_io import read_image_size
from clsa_search.desk.answers import source_answer
from clsa_search.desk.footage import Footage, guess_media_type, is_video
from clsa_search.desk.gallery_models import MediaAnswer, TrackAnswer, TrackBox
from clsa_search.errors import InputError
from clsa_search.gallery import Source, StoredDetection
from clsa_search.retrieval.search_answers import as_text, name_source, to_box
from clsa_search.retrieval.video_clips import MAX_ANIMATION_SECONDS, TimedBox

LEAD_SECONDS = 2.0
"""Seconds of a clip before the first and after the last detection."""


def describe_media(footage: Footage, source: Source) -> MediaAnswer:
    """Describe a source with the facts of its file's header."""
    about: dict[str, Any] = {"media_type": guess_media_type(source.path)}
    try:
        footage.check_file(source.path)
        if is_video(source.path):
            facts = footage.read_facts(source.path)
            about |= {"fps": facts.fps, "seconds": facts.seconds}
    except InputError as error:
        about["fault"] = as_text(str(error))
    return MediaAnswer(**source_answer(source).model_dump(), **about)


def describe_track(footage: Footage, detections: Sequence[StoredDetection]) -> TrackAnswer:
    """Describe where and when a person is seen.

    Args:
        footage: files of the gallery.
        detections: detections in one source, earliest first.
    """
    first = detections[0]
    seconds = [0.0] * len(detections)
    about: dict[str, Any] = {}
    try:
        seconds = _locate(footage, detections)
        if not is_video(first.source):
            about["width"], about["height"] = read_image_size(first.source)
    except InputError as error:
        about["fault"] = as_text(str(error))
    boxes = [
        TrackBox(
            detection=one.detection_id,
            seconds=when,
            time=one.time,
            box=to_box(one.box),
            origin=one.origin,
        )
        for one, when in zip(detections, seconds, strict=True)
    ]
    return TrackAnswer(
        source=name_source(first.source),
        name=as_text(os.path.basename(first.source)),
        kind="video" if is_video(first.source) else "image",
        media_type=guess_media_type(first.source),
        camera=None if first.camera is None else as_text(first.camera),
        boxes=boxes,
        **about,
    )


def draw_clip(footage: Footage, detections: Sequence[StoredDetection]) -> bytes:
    """Return the seconds around some detections as an animated image with their boxes.

    Args:
        footage: files of the gallery.
        detections: detections in one video, earliest first.

    Raises:
        InputError: the source is an image, or its file is gone or changed.
    """
    path = detections[0].source
    if not is_video(path):
        raise InputError(f"source: {as_text(path)} is an image; expected a video")
    seconds = _locate(footage, detections)
    boxes = [TimedBox(*pair) for pair in zip(seconds, (one.box for one in detections), strict=True)]
    start = max(0.0, seconds[0] - LEAD_SECONDS)
    stop = min(seconds[-1] + LEAD_SECONDS, start + MAX_ANIMATION_SECONDS)
    return footage.animate(path, start, stop, boxes)


def _locate(footage: Footage, detections: Sequence[StoredDetection]) -> list[float]:
    """Return the seconds of detections from the beginning of their file; 0 in an image."""
    path = detections[0].source
    if not is_video(path):
        footage.check_file(path)
        return [0.0] * len(detections)
    fps = footage.read_facts(path).fps
    return [(one.frame or 0) / fps for one in detections]
