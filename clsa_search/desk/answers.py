"""Records of the gallery in the shapes of the API."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from clsa_search.desk.api_models import MatchAnswer
from clsa_search.desk.footage import is_video, name_source
from clsa_search.desk.gallery_models import SourceAnswer, TrackletAnswer
from clsa_search.gallery import Match, Source, Tracklet
from clsa_search.sightings.match_verdicts import CalibratedMatch


def match_answer(rank: int, match: Match, judged: CalibratedMatch | None = None) -> MatchAnswer:
    """Return a match in the shape of the API.

    Args:
        rank: rank from 1.
        match: the match.
        judged: its meaning; None for a single detection.
    """
    best, tracklet = match.detection, match.tracklet
    return MatchAnswer(
        rank=rank,
        similarity=float(match.similarity),
        tracklet=tracklet.tracklet_id if tracklet else None,
        detection=best.detection_id,
        detections=tracklet.detections if tracklet else 1,
        source=name_source(best.source),
        name=as_text(os.path.basename(best.source)),
        camera=None if best.camera is None else as_text(best.camera),
        first=tracklet.first if tracklet else best.time,
        last=tracklet.last if tracklet else best.time,
        frame=best.frame,
        time=best.time,
        box=to_box(best.box),
        score=float(best.score),
        **({} if judged is None else _list_meanings(judged)),
    )


def _list_meanings(judged: CalibratedMatch) -> dict[str, Any]:
    names = "z", "expected_strangers", "is_bound", "verdict", "probability", "rejected_like"
    return {name: getattr(judged, name) for name in names}


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


def to_box(box: Sequence[float] | np.ndarray) -> tuple[float, float, float, float]:
    """Return a box as four numbers of Python."""
    x0, y0, x1, y1 = (round(float(value), 2) for value in box)
    return x0, y0, x1, y1


def as_text(name: str) -> str:
    """Return a name as valid text; file names may hold bytes of no text."""
    return name.encode(errors="replace").decode()
