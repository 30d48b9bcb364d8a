"""Boxes that clients draw on frames of the gallery, to be stored."""

from clsa_search.desk.answers import detection_answer
from clsa_search.desk.api_models import DrawnBox
from clsa_search.desk.footage import Footage, VideoFacts, is_video
from clsa_search.desk.gallery_models import DetectionAnswer
from clsa_search.desk.work_gates import Gate
from clsa_search.errors import InputError
from clsa_search.retrieval.drawn_detections import DrawnFrame, add_drawn
from clsa_search.retrieval.gallery_search import GallerySearch
from clsa_search.retrieval.source_base import find_base

_WAYS = "seconds", "time", "frame"


class DrawingBoard:
    """Stores drawn boxes, one client at a time.

    Args:
        gallery: gallery with its model.
        footage: files of the gallery.
        model: bound of the model's work.
    """

    def __init__(self, gallery: GallerySearch, footage: Footage, model: Gate) -> None:
        self._gallery = gallery
        self._footage = footage
        self._model = model

    def add(self, request: DrawnBox) -> DetectionAnswer:
        """Store a box with its embedding; see :func:`add_drawn`.

        Raises:
            NotFound: there is no such source.
            InputError: the file is gone or has changed, there is no such frame, the box is wrong,
                or the gallery cannot be written.
            Busy: too many wait for the model.
        """
        drawn = self._read(self._footage.find_path(request.source), request)
        store = self._gallery.store
        with self._model.enter():
            stored = add_drawn(store, self._gallery.predictor, drawn, request.box)
        (tracklet,) = store.find_tracklets([stored.detection_id])
        return detection_answer(stored, tracklet, drawn.seconds or 0.0)

    def _read(self, path: str, request: DrawnBox) -> DrawnFrame:
        """Return the frame of a request."""
        given = [name for name in _WAYS if getattr(request, name) is not None]
        if not is_video(path):
            if given:
                raise InputError(f"{given[0]}: the source is an image; expected none")
            return DrawnFrame(path, None, None, self._footage.read_frame(path, None))
        if len(given) != 1:
            words = "and ".join(f"{name} " for name in given) or "nothing "
            raise InputError(f"seconds: {words}given; expected one of {', '.join(_WAYS)}")
        facts = self._footage.read_facts(path)
        frame = request.frame
        if frame is None:
            frame, image = self._footage.read_moment(path, self._find_seconds(path, request, facts))
        else:
            _check_inside("frame", frame, frame / facts.fps, facts)
            image = self._footage.read_frame(path, frame)
        return DrawnFrame(path, frame, (frame or 0) / facts.fps, image)

    def _find_seconds(self, path: str, request: DrawnBox, facts: VideoFacts) -> float:
        """Return the seconds of a moment from the beginning of its video."""
        if request.seconds is not None:
            _check_inside("seconds", request.seconds, request.seconds, facts)
            return request.seconds
        assert request.time is not None
        (source,) = [one for one in self._gallery.store.sources() if one.path == path]
        seconds = request.time - find_base(source)
        _check_inside("time", request.time, seconds, facts)
        return seconds


def _check_inside(name: str, value: float, seconds: float, facts: VideoFacts) -> None:
    """Check that a moment is one of the video, as far as its header tells.

    Raises:
        InputError: it is before or after it.
    """
    length = facts.seconds
    if seconds < 0 or (length is not None and seconds >= length):
        end = "" if length is None else f" of {length:.1f} s"
        raise InputError(f"{name}: {value:.12g}; expected a moment of the video{end}")
