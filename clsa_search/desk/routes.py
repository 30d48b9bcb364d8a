"""Routes of the API: they take requests apart and call the desk."""

import os
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import FileResponse, JSONResponse, Response

from clsa_search.desk.api_models import (
    FrameQuery,
    Id,
    Name,
    QueryAnswer,
    QueryId,
    SearchRequest,
    Seconds,
    Shape,
    SourceId,
)
from clsa_search.desk.footage import guess_media_type
from clsa_search.desk.gallery_models import (
    GalleryAnswer,
    MediaAnswer,
    SourcesAnswer,
    TimelineAnswer,
    TrackAnswer,
    TrackletsAnswer,
)
from clsa_search.desk.media_response import MediaResponse
from clsa_search.desk.pictures import encode_crop, encode_for_browser, encode_thumbnail
from clsa_search.desk.search_desk import SearchDesk
from clsa_search.desk.tracks import describe_media, describe_track, draw_clip
from clsa_search.errors import InputError
from clsa_search.gallery import Filter
from clsa_search.retrieval.search_answers import SearchAnswer, to_plain

ShapeT = TypeVar("ShapeT", bound=Shape)

router = APIRouter(prefix="/api/v1")
_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}
_WEBP: dict[int | str, dict[str, Any]] = {200: {"content": {"image/webp": {}}}}
_SHARE = r"(0|1|0?\.[0-9]{1,9}|1\.0{1,9})"
_PART = f"^{_SHARE}(,{_SHARE}){{3}}$"
_PART_TEXT = "x1,y1,x2,y2 in shares of width and height: the only person, without the detector"
_IMAGE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("image/jpeg", "image/png", "image/webp")
        }
        | {"application/json": {"schema": FrameQuery.model_json_schema()}},
    }
}


def get_desk(request: Request) -> SearchDesk:
    """Return the desk of the application."""
    return request.app.state.desk


async def read_body(request: Request) -> bytes:
    """Return the body, bounded by the gatekeeper."""
    return await request.body()


Desk = Annotated[SearchDesk, Depends(get_desk)]
Moment = Annotated[float, Query(ge=0, le=1e9, allow_inf_nan=False)]


@router.get("/gallery")
def describe_gallery(desk: Desk) -> GalleryAnswer:
    """Describe the gallery."""
    return desk.records.describe(desk.jobs.list_folders())


@router.get("/timeline")
def show_timeline(desk: Desk) -> TimelineAnswer:
    """Describe the times with and without footage of each camera."""
    return desk.timeline.describe()


@router.post("/queries", status_code=201, openapi_extra=_IMAGE_BODY)
def add_query(
    request: Request,
    desk: Desk,
    body: Annotated[bytes, Depends(read_body)],
    box: Annotated[str | None, Query(pattern=_PART, description=_PART_TEXT)] = None,
) -> QueryAnswer:
    """Detect the people of an image, or take a frame of the gallery's footage as a query."""
    part = None
    if box is not None:
        x0, y0, x1, y1 = map(float, box.split(","))
        part = x0, y0, x1, y1
    if request.headers["content-type"].lower().startswith("image/"):
        return desk.queries.add_upload(body, part)
    return desk.queries.add_frame(parse_shape(FrameQuery, body), part)


@router.get("/queries/{query_id}/image.jpg", response_class=Response, responses=_JPEG)
def show_query(query_id: Annotated[QueryId, Path()], desk: Desk) -> Response:
    """Return the image of a query."""
    query = desk.queries.shelf.get(query_id)
    with desk.footage.bounded():  # 64 million pixels each
        return as_jpeg(encode_for_browser(query.decode()))


@router.post("/search", response_model=SearchAnswer)
def search(request: SearchRequest, desk: Desk) -> Response:
    """Search for one person; several views of the person are averaged."""
    return JSONResponse(to_plain(desk.search(request)))


@router.get("/detections/{detection_id}/crop.jpg", response_class=Response, responses=_JPEG)
def show_crop(detection_id: Annotated[Id, Path()], desk: Desk) -> Response:
    """Return a detection with some surroundings."""
    detection = desk.records.find_detection(detection_id)
    desk.footage.check_file(detection.source)

    def make() -> bytes:
        return encode_crop(desk.footage.read_person(detection))

    return as_jpeg(desk.footage.remember(("crop", detection_id), make))


@router.get("/detections/{detection_id}/frame.jpg", response_class=Response, responses=_JPEG)
def show_frame(detection_id: Annotated[Id, Path()], desk: Desk) -> Response:
    """Return the whole frame of a detection."""
    person = desk.footage.read_person(desk.records.find_detection(detection_id))
    return as_jpeg(encode_for_browser(person.image))


@router.get("/detections/{detection_id}")
def describe_detection(detection_id: Annotated[Id, Path()], desk: Desk) -> TrackAnswer:
    """Describe where and when a detection is seen."""
    return describe_track(desk.footage, [desk.records.find_detection(detection_id)])


@router.get("/detections/{detection_id}/clip.webp", response_class=Response, responses=_WEBP)
def show_clip(detection_id: Annotated[Id, Path()], desk: Desk) -> Response:
    """Return the seconds around a detection as an animated image."""
    return Response(
        draw_clip(desk.footage, [desk.records.find_detection(detection_id)]),
        media_type="image/webp",
    )


@router.get("/tracklets")
def list_tracklets(
    desk: Desk,
    cameras: Annotated[list[Name] | None, Query(max_length=1000)] = None,
    sources: Annotated[list[SourceId] | None, Query(max_length=1000)] = None,
    since: Annotated[Seconds | None, Query(allow_inf_nan=False)] = None,
    until: Annotated[Seconds | None, Query(allow_inf_nan=False)] = None,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> TrackletsAnswer:
    """List sightings, earliest first."""
    paths = [desk.footage.find_path(one) for one in sources or ()]
    where = Filter(cameras=cameras or None, sources=paths or None, since=since, until=until)
    return desk.records.list_tracklets(where, offset, limit)


@router.get("/tracklets/{tracklet_id}")
def describe_tracklet(tracklet_id: Annotated[Id, Path()], desk: Desk) -> TrackAnswer:
    """Describe where and when a sighting is seen, with all its boxes."""
    return describe_track(desk.footage, desk.records.find_tracklet(tracklet_id))


@router.get("/tracklets/{tracklet_id}/crop.jpg", response_class=Response, responses=_JPEG)
def show_best_crop(tracklet_id: Annotated[Id, Path()], desk: Desk) -> Response:
    """Return the best detection of a sighting with some surroundings."""
    desk.records.find_tracklet(tracklet_id)
    (tracklet,) = desk.store.get_tracklets([tracklet_id], embeddings=False)
    return show_crop(tracklet.best, desk)


@router.get("/tracklets/{tracklet_id}/frame.jpg", response_class=Response, responses=_JPEG)
def show_frame_of_tracklet(
    tracklet_id: Annotated[Id, Path()], desk: Desk, seconds: Moment | None = None
) -> Response:
    """Return a frame of a sighting's file, by default the one of its best detection."""
    path = desk.records.find_tracklet(tracklet_id)[0].source
    if seconds is not None:
        return as_jpeg(encode_for_browser(desk.footage.read_moment(path, seconds)[1]))
    (tracklet,) = desk.store.get_tracklets([tracklet_id], embeddings=False)
    return show_frame(tracklet.best, desk)


@router.get("/tracklets/{tracklet_id}/clip.webp", response_class=Response, responses=_WEBP)
def show_tracklet_clip(tracklet_id: Annotated[Id, Path()], desk: Desk) -> Response:
    """Return a sighting as an animated image, 10 seconds at most."""
    return Response(
        draw_clip(desk.footage, desk.records.find_tracklet(tracklet_id)), media_type="image/webp"
    )


@router.get("/sources")
def list_sources(
    desk: Desk,
    text: Annotated[str, Query(max_length=500)] = "",
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> SourcesAnswer:
    """List the indexed files with a text in their path."""
    return desk.records.list_sources(text, offset, limit)


@router.get("/sources/{source_id}")
def describe_file(source_id: Annotated[SourceId, Path()], desk: Desk) -> MediaAnswer:
    """Describe an indexed file."""
    return describe_media(desk.footage, desk.records.find_source(source_id))


@router.get("/sources/{source_id}/frame.jpg", response_class=Response, responses=_JPEG)
def show_moment(
    source_id: Annotated[SourceId, Path()], desk: Desk, seconds: Moment = 0.0
) -> Response:
    """Return a frame of a video, or an image."""
    path = desk.footage.find_path(source_id)
    return as_jpeg(encode_for_browser(desk.footage.read_moment(path, seconds)[1]))


@router.get("/sources/{source_id}/thumbnail.jpg", response_class=Response, responses=_JPEG)
def show_thumbnail(source_id: Annotated[SourceId, Path()], desk: Desk) -> Response:
    """Return the first frame of a file in a small size."""
    path = desk.footage.find_path(source_id)
    desk.footage.check_file(path)

    def make() -> bytes:
        return encode_thumbnail(desk.footage.read_moment(path, 0.0)[1])

    return as_jpeg(desk.footage.remember(("thumbnail", path), make))


@router.get("/sources/{source_id}/media", response_class=FileResponse)
def send_media(source_id: Annotated[SourceId, Path()], desk: Desk) -> Response:
    """Return a file itself, also in ranges."""
    path = desk.footage.find_path(source_id)
    state = desk.footage.check_file(path)
    if not os.access(path, os.R_OK):
        raise InputError(f"source: {source_id} cannot be read; expected permission to read it")
    return MediaResponse(path, media_type=guess_media_type(path), stat_result=state)


def parse_shape(shape: type[ShapeT], body: bytes) -> ShapeT:
    """Return a shape from JSON.

    Raises:
        RequestValidationError: the text is no JSON, or has another shape.
    """
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        raise RequestValidationError(
            [{**fault, "loc": ("body", *fault["loc"])} for fault in faults]
        ) from error


def as_jpeg(content: bytes) -> Response:
    """Return an answer with a JPEG."""
    return Response(content, media_type="image/jpeg")
