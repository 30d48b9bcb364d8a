"""The answer to a search in plain values: one shape for `query --json`, results.json and the API.

Boxes are XYXY in pixels of the upright image. Times are seconds: since 1970 (UTC) where the start
of the footage is known, else since the beginning of the video.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from clsa_search.gallery import Match, Origin
from clsa_search.retrieval.results import QueryResult
from clsa_search.retrieval.search_scope import SearchScope

Box = tuple[float, float, float, float]
_STRICT = {"extra": "forbid"}  # read by pydantic, which describes these shapes in OpenAPI
_JUDGED = ("z", "expected_strangers", "is_bound", "verdict", "probability", "rejected_like")
_ANSWERED = ("searched", "calibrated", "nobody", "reason", "uniforms", "damage")


@dataclass(frozen=True, kw_only=True)
class MatchAnswer:
    """A match of a search.

    Args:
        rank: from 1, best first.
        similarity: cosine of the embeddings.
        tracklet: id of the sighting; None for a single detection.
        detection: id of the detection to show.
        detections: number of detections.
        purity: lowest similarity of a detection with the others.
        source: id of the file.
        name: name of the file.
        path: path of the file where the gallery was searched.
        camera: name of the camera.
        first: time of the first detection.
        last: time of the last detection.
        first_frame: number of the first frame in its video.
        last_frame: number of the last frame.
        frame: number of the frame to show.
        time: time of the frame to show.
        box: box in the frame to show.
        score: detection score.
        origin: where the shown detection came from: "model", "file" (given boxes) or "hand".
        z: similarity in standard deviations of strangers on its camera; None: not calibrated.
        expected_strangers: number of strangers at least this alike among the sightings searched.
        is_bound: whether fewer strangers are expected than the number says.
        verdict: meaning of the number.
        probability: chance of the same person by the user's verdicts; None: too few of them, or
            like somebody else.
        rejected_like: id of a more alike sighting of somebody else.
        other_day: whether a midnight lies between it and all views of the person.
    """

    __pydantic_config__ = _STRICT

    rank: int
    similarity: float
    tracklet: int | None
    detection: int
    detections: int
    purity: float
    source: str
    name: str
    path: str
    camera: str | None
    first: float | None
    last: float | None
    first_frame: int | None
    last_frame: int | None
    frame: int | None
    time: float | None
    box: Box
    score: float
    origin: Origin
    z: float | None = None
    expected_strangers: float | None = None
    is_bound: bool = False
    verdict: str | None = None
    probability: float | None = None
    rejected_like: int | None = None
    other_day: bool = False


@dataclass(frozen=True, kw_only=True)
class QueryImageAnswer:
    """An image of the searched person.

    Args:
        caption: name of the image.
        box: box of the person.
    """

    __pydantic_config__ = _STRICT

    caption: str
    box: Box


@dataclass(frozen=True, kw_only=True)
class SearchAnswer:
    """The result of a search.

    Args:
        id: random name of the search, for verdicts on its matches.
        title: name of the query.
        query_images: images of the person; empty where the client has them.
        searched: number of sightings, or of detections, within the filters.
        matches: best first.
        calibrated: whether strangers were counted.
        nobody: whether no sighting stands out from strangers; None if not calibrated.
        summary: the answer as one sentence.
        reason: why it is not calibrated, or why the calibration is out of date; None without.
        uniforms: whether many strangers look like people in uniform.
        same_verdicts: number of the user's verdicts "same" behind the probabilities.
        other_verdicts: number of the user's verdicts "somebody else".
        damage: sentence on damaged verdicts of the user; None without such.
    """

    __pydantic_config__ = _STRICT

    id: str
    title: str
    query_images: list[QueryImageAnswer]
    searched: int
    matches: list[MatchAnswer]
    calibrated: bool = False
    nobody: bool | None = None
    summary: str = ""
    reason: str | None = None
    uniforms: bool = False
    same_verdicts: int = 0
    other_verdicts: int = 0
    damage: str | None = None


def describe_answer(result: QueryResult) -> SearchAnswer:
    """Return the result of a search as plain values."""
    about: dict[str, Any] = {"searched": result.searched}
    if result.answer is not None:
        about = {name: getattr(result.answer, name) for name in _ANSWERED}
        counts = result.answer.verdicts
        about |= {"same_verdicts": counts.same, "other_verdicts": counts.other}
    return SearchAnswer(
        id=result.query_id,
        title=result.title,
        query_images=[
            QueryImageAnswer(caption=one.caption, box=to_box(one.box))
            for one in result.query_images
        ],
        matches=[_describe_match(result, *pair) for pair in enumerate(result.matches, 1)],
        summary=result.summary,
        **about,
    )


def _describe_match(result: QueryResult, rank: int, match: Match) -> MatchAnswer:
    best, tracklet, judged = match.detection, match.tracklet, result.judge(rank)
    first, last = (tracklet.first, tracklet.last) if tracklet else (best.time, best.time)
    return MatchAnswer(
        rank=rank,
        similarity=float(match.similarity),
        tracklet=tracklet.tracklet_id if tracklet else None,
        detection=best.detection_id,
        detections=tracklet.detections if tracklet else 1,
        purity=float(tracklet.purity) if tracklet else 1.0,
        source=name_source(best.source),
        name=os.path.basename(best.source),
        path=best.source,
        camera=best.camera,
        first=first,
        last=last,
        first_frame=tracklet.first_frame if tracklet else best.frame,
        last_frame=tracklet.last_frame if tracklet else best.frame,
        frame=best.frame,
        time=best.time,
        box=to_box(best.box),
        score=float(best.score),
        origin=best.origin,
        other_day=result.is_other_day(match),
        **{name: getattr(judged, name) for name in _JUDGED if judged is not None},
    )


def results_as_json(
    results: Sequence[QueryResult], scope: SearchScope | None = None
) -> dict[str, Any]:
    """Return everything but pixels and embeddings as plain numbers and text.

    Args:
        results: results of queries.
        scope: scope of all of them.
    """
    about = {} if scope is None else {"scope": to_plain(scope)}
    return {"queries": [to_plain(describe_answer(one)) for one in results], **about}


def results_as_text(results: Sequence[QueryResult], scope: SearchScope | None = None) -> str:
    """Write :func:`results_as_json` as JSON text; invalid characters of file names become "?"."""
    return json.dumps(results_as_json(results, scope), indent=1, ensure_ascii=False)


def to_plain(value: Any) -> Any:
    """Return a shape as values of JSON: NaN and infinity are None, text is valid."""
    if is_dataclass(value):
        return {one.name: to_plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {name: to_plain(one) for name, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return as_text(value) if isinstance(value, str) else value


def name_source(path: str) -> str:
    """Return the id of a source: 16 hexadecimal digits."""
    return hashlib.blake2b(os.fsencode(path), digest_size=8).hexdigest()


def to_box(box: Iterable[float]) -> Box:
    """Return a box as four numbers of Python."""
    x0, y0, x1, y1 = (round(float(value), 2) for value in box)
    return x0, y0, x1, y1


def as_text(name: str) -> str:
    """Return a name as valid text; file names may hold bytes of no text."""
    return name.encode(errors="replace").decode()
