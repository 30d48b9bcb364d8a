"""Records of the gallery in the shapes of the API."""

import os

from clsa_search.desk.footage import is_video
from clsa_search.desk.gallery_models import DetectionAnswer, SourceAnswer, TrackletAnswer
from clsa_search.gallery import Source, StoredDetection, Tracklet
from clsa_search.retrieval.search_answers import as_text, name_source, to_box


def tracklet_answer(tracklet: Tracklet) -> TrackletAnswer:
    """Return a sighting in the shape of the API."""
    return TrackletAnswer(
        tracklet=tracklet.tracklet_id,
        source=name_source(tracklet.source),
        name=as_text(os.path.basename(tracklet.source)),
        camera=None if tracklet.camera is None else as_text(tracklet.camera),
        first=tracklet.first,
        last=tracklet.last,
        detections=tracklet.detections,
        best=tracklet.best,
        purity=tracklet.purity,
    )


def detection_answer(one: StoredDetection, tracklet: int, seconds: float) -> DetectionAnswer:
    """Return a detection in the shape of the API.

    Args:
        one: the detection.
        tracklet: id of its sighting.
        seconds: seconds from the beginning of its file.
    """
    return DetectionAnswer(
        detection=one.detection_id,
        seconds=seconds,
        time=one.time,
        box=to_box(one.box),
        origin=one.origin,
        tracklet=tracklet,
        source=name_source(one.source),
        name=as_text(os.path.basename(one.source)),
        camera=None if one.camera is None else as_text(one.camera),
        frame=one.frame,
        score=one.score,
    )


def source_answer(source: Source) -> SourceAnswer:
    """Return a source in the shape of the API."""
    return SourceAnswer(
        id=name_source(source.path),
        name=as_text(os.path.basename(source.path)),
        path=as_text(source.path),
        kind="video" if is_video(source.path) else "image",
        detections=source.detections,
        complete=source.is_complete,
    )
