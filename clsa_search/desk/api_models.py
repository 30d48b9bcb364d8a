"""Shapes of the HTTP API's requests and answers; its OpenAPI description is made from them.

The answer to a search is the one of the command line: `retrieval/search_answers.py`.

Boxes are XYXY in pixels of the upright image. Times are seconds: since 1970 (UTC) where the start
of the footage is known, else since the beginning of the video. `seconds` counts from the beginning
of the file always.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from clsa_search.retrieval.search_answers import Box

Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
SourceId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
QueryId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{22}$")]
Name = Annotated[str, StringConstraints(max_length=1000)]
Seconds = Annotated[float, Field(ge=-1e12, le=1e12)]


class Shape(BaseModel):
    """A shape of requests: no unknown fields, NaN or infinity."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Answer(BaseModel):
    """A shape of answers; NaN and infinity are null in JSON."""

    model_config = ConfigDict(extra="forbid")


class Person(Answer):
    """A detection of a query's image.

    Args:
        index: number of the person in the image, from 0.
        box: XYXY in pixels of the image.
        score: detection score.
        detection: id, if the detection is one of the gallery.
    """

    index: int
    box: Box
    score: float
    detection: int | None = None


class QueryAnswer(Answer):
    """An image to choose a person from, kept for an hour.

    Args:
        id: id of the query, for `of` in a search.
        name: name for people.
        width: width of the image in pixels.
        height: height of the image in pixels.
        people: detections, most confident first.
        source: id of the source, if the image is a frame of the gallery's footage.
        frame: number of the frame in its video.
        time: time of the frame.
        seconds: seconds from the beginning of its video.
    """

    id: str
    name: str
    width: int
    height: int
    people: list[Person]
    source: str | None = None
    frame: int | None = None
    time: float | None = None
    seconds: float | None = None


class FrameQuery(Shape):
    """A frame of the gallery's footage as a query.

    Args:
        source: id of an image or a video.
        seconds: any moment of a video; the model detects the people of this frame. Without it:
            the first frame with stored detections, without the model.
        after: the frame begins after this time.
    """

    source: SourceId
    seconds: Annotated[float, Field(ge=0, le=1e9)] | None = None
    after: Seconds | None = None


class DrawnBox(Shape):
    """A box that somebody drew, to be stored; a video needs one way to name the frame.

    Args:
        source: id of an image or a video.
        box: XYXY in pixels of the frame; it is cut at the borders.
        seconds: seconds from the beginning of the video.
        time: time of the frame.
        frame: number of the frame.
    """

    source: SourceId
    box: Box
    seconds: Annotated[float, Field(ge=0, le=1e9)] | None = None
    time: Seconds | None = None
    frame: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None


class Subject(Shape):
    """One view of the searched person: exactly one way to name it.

    Args:
        query: id of a query; with `index` or `box`.
        index: number of a person in the query's image.
        box: XYXY in pixels of the query's image.
        detection: id of a detection of the gallery.
        tracklet: id of a sighting of the gallery.
        person: id of a person of the watch list.
    """

    query: QueryId | None = None
    index: Annotated[int, Field(ge=0, le=100_000)] | None = None
    box: Box | None = None
    detection: Id | None = None
    tracklet: Id | None = None
    person: Id | None = None

    @model_validator(mode="after")
    def _is_one(self) -> "Subject":
        given = {name for name in type(self).model_fields if getattr(self, name) is not None}
        single = [{"detection"}, {"tracklet"}, {"person"}]
        if given not in ({"query", "index"}, {"query", "box"}, *single):
            raise ValueError("query and index, query and box, detection, tracklet, or person")
        return self


class SearchRequest(Shape):
    """A search for one person.

    Args:
        of: views of the person; several are averaged.
        cameras: search in these cameras only.
        sources: search in these files only, by their ids.
        since: earliest time.
        until: latest time.
        min_score: minimum detection score.
        max_strangers: drop sightings with more expected strangers; needs a calibrated gallery.
        same: sightings of the person, by the user.
        others: sightings of somebody else, by the user; they count against their near copies.
            Sightings that were deleted since do not count.
        limit: number of matches.
        per: a match is a sighting ("tracklet"), the best detection of an image or a frame
            ("image"), or each detection ("match").
    """

    of: Annotated[list[Subject], Field(min_length=1, max_length=50)]
    cameras: Annotated[list[Name], Field(max_length=1000)] | None = None
    sources: Annotated[list[SourceId], Field(max_length=10_000)] | None = None
    since: Seconds | None = None
    until: Seconds | None = None
    min_score: Annotated[float, Field(ge=0, le=1)] | None = None
    max_strangers: Annotated[float, Field(ge=0, le=1e12)] | None = None
    same: Annotated[list[Id], Field(max_length=1000)] = []
    others: Annotated[list[Id], Field(max_length=1000)] = []
    limit: Annotated[int, Field(ge=1, le=500)] = 60
    per: Literal["tracklet", "image", "match"] = "tracklet"


class ErrorDetail(Answer):
    """A fault of a request.

    Args:
        code: kind of the fault.
        message: the fault and the expected value.
        field: field of the request, if it is one field.
    """

    code: str
    message: str
    field: str | None = None


class ErrorAnswer(Answer):
    """The form of all errors.

    Args:
        error: the fault.
    """

    error: ErrorDetail
