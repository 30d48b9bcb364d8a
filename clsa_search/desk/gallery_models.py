"""Shapes of the API's answers about the gallery itself; see `api_models`."""

from typing import Literal

from clsa_search.desk.api_models import Answer
from clsa_search.desk.job_models import FolderAnswer
from clsa_search.desk.verdict_models import VerdictsAnswer
from clsa_search.gallery import Origin
from clsa_search.retrieval.search_answers import Box


class TrackletAnswer(Answer):
    """A sighting: detections of one person in consecutive frames of a file.

    Args:
        tracklet: id of the sighting.
        source: id of the file.
        name: name of the file.
        camera: name of the camera.
        first: time of the first detection.
        last: time of the last detection.
        detections: number of detections.
        best: id of the detection to show.
        purity: lowest similarity of a detection with the others.
    """

    tracklet: int
    source: str
    name: str
    camera: str | None
    first: float | None
    last: float | None
    detections: int
    best: int
    purity: float


class TrackletsAnswer(Answer):
    """A part of the list of sightings, earliest first.

    Args:
        total: number of sightings in the filter.
        tracklets: the part.
    """

    total: int
    tracklets: list[TrackletAnswer]


class TrackBox(Answer):
    """A box of a track.

    Args:
        detection: id of the detection.
        seconds: seconds from the beginning of the file; 0 in an image.
        time: time of the frame.
        box: XYXY in pixels of the frame.
        origin: where it came from: the model, a file of boxes, or somebody's hand.
    """

    detection: int
    seconds: float
    time: float | None
    box: Box
    origin: Origin


class DetectionAnswer(TrackBox):
    """A stored detection.

    Args:
        tracklet: id of its sighting.
        source: id of the file.
        name: name of the file.
        camera: name of the camera.
        frame: number of the frame in its video; None for an image.
        score: detection score; 1 if somebody drew it.
    """

    tracklet: int
    source: str
    name: str
    camera: str | None
    frame: int | None
    score: float


class TrackAnswer(Answer):
    """Where and when a person is seen in a file.

    Args:
        source: id of the file.
        name: name of the file.
        kind: image or video.
        media_type: type of the file for browsers.
        camera: name of the camera.
        boxes: the detections, earliest first.
        fault: why the file cannot be shown; None if it can.
        width: width of an image in pixels; None for a video.
        height: height of an image in pixels.
    """

    source: str
    name: str
    kind: Literal["image", "video"]
    media_type: str
    camera: str | None
    boxes: list[TrackBox]
    fault: str | None = None
    width: int | None = None
    height: int | None = None


class SourceAnswer(Answer):
    """An indexed file.

    Args:
        id: id of the file.
        name: name of the file.
        path: path of the file on the server.
        kind: image or video.
        detections: number of stored detections.
        complete: whether all of it is indexed.
    """

    id: str
    name: str
    path: str
    kind: Literal["image", "video"]
    detections: int
    complete: bool


class SourcesAnswer(Answer):
    """A part of the list of sources.

    Args:
        total: number of fitting sources.
        sources: the part.
    """

    total: int
    sources: list[SourceAnswer]


class MediaAnswer(SourceAnswer):
    """An indexed file with the facts of its header.

    Args:
        fault: why the file cannot be shown; None if it can.
        media_type: type of the file for browsers.
        fps: frames per second of a video.
        seconds: length of a video.
    """

    fault: str | None = None
    media_type: str = "application/octet-stream"
    fps: float | None = None
    seconds: float | None = None


class GalleryAnswer(Answer):
    """What the gallery holds.

    Args:
        name: name of the gallery.
        detections: number of detections.
        tracklets: number of sightings.
        sources: number of files.
        cameras: names of the cameras.
        timezone: IANA name of the server's time zone, if known.
        min_score: detections of query images with a lower score are dropped.
        folders: folders to look for new files in.
        version: version of the program.
        verdicts: numbers of the user's verdicts, and how many are missing for a probability.
        problems: sentences on a damaged calibration and damaged verdicts, with the cure.
    """

    name: str
    detections: int
    tracklets: int
    sources: int
    cameras: list[str]
    timezone: str | None
    min_score: float
    folders: list[FolderAnswer]
    version: str
    verdicts: VerdictsAnswer
    problems: list[str]


class LaneAnswer(Answer):
    """What the footage of a camera covers, from the first to the last frame of all cameras.

    Args:
        camera: name of the camera; None if unknown.
        spans: (first, last) of each time with footage.
        gaps: (first, last) of each time without: nobody can be seen there.
        undated: number of its files without a known time or length.
    """

    camera: str | None
    spans: list[tuple[float, float]]
    gaps: list[tuple[float, float]]
    undated: int


class TimelineAnswer(Answer):
    """What the footage covers.

    Args:
        complete: whether the headers of all videos were read; if not, ask again.
        lanes: a lane for each camera.
    """

    complete: bool
    lanes: list[LaneAnswer]
