"""Records of the gallery in the shapes of the API."""

import os

from clsa_search.desk.footage import is_video
from clsa_search.desk.gallery_models import SourceAnswer, TrackletAnswer
from clsa_search.gallery import Source, Tracklet
from clsa_search.retrieval.search_answers import as_text, name_source


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
