"""Places of a person in a file, also for detections at another rate or by other weights."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

_MAX_GAP = 3.0  # seconds between detections that belong together
_MARGIN = 1.0  # seconds before and after at least, as another rate finds other frames
_MAX_REACH = 15.0  # seconds; longer gaps stay open
_STEP = 0.25  # seconds of a place
_SLACK, _DRIFT, _SPEED = 0.1, 0.4, 0.8  # growth in heights: at once, a second off the way, a second
_MIN_COVER = 0.6  # of a box, to be suppressed
_LARGER = 1.5  # areas of the person: of a larger box only so much has to be covered
_MIN_AREA, _MAX_AREA = 0.25, 4.0  # areas of the person: other boxes in the place are other people

Box = tuple[float, float, float, float]


class Place(NamedTuple):
    """A box and a span of time within a file.

    Args:
        start: first second; 0 for an image.
        stop: last second; 0 for an image.
        box: XYXY in pixels, around the person during the span.
        area: smallest area of the person's box.
    """

    start: float
    stop: float
    box: Box
    area: float

    def holds(self, box: Sequence[float]) -> bool:
        """Return whether a detection at this time is this person, by its box."""
        x0, y0, x1, y1 = box
        area = _area((x0, y0, x1, y1))
        left, top, right, bottom = self.box
        width, height = min(x1, right) - max(x0, left), min(y1, bottom) - max(y0, top)
        # other weights may draw a larger box around the same person
        needed = _MIN_COVER * min(area, _LARGER * self.area)
        is_covered = max(0.0, width) * max(0.0, height) >= needed
        return is_covered and _MIN_AREA * self.area <= area <= _MAX_AREA * self.area


def make_places(
    boxes: Sequence[tuple[float, Box]], *, is_image: bool = False, interval: float = 1.0
) -> list[Place]:
    """Return the places of a person from the times and boxes of the detections.

    Between two detections, and until the next sampled frame, another rate may find the person:
    places there grow with the time to the nearest detection.

    Args:
        boxes: seconds and box of each detection.
        is_image: whether the file is an image, without times.
        interval: seconds between the sampled frames.
    """
    ordered = sorted(boxes)
    if is_image:
        return [Place(0.0, 0.0, box, _area(box)) for _, box in ordered]
    reach = min(max(_MAX_GAP, 1.5 * interval), _MAX_REACH)
    beyond = min(1.5 * max(_MARGIN, interval), _MAX_REACH)
    joined = [later[0] - one[0] <= reach for one, later in pairwise(ordered)]
    places = []
    for (one, later), is_joined in zip(pairwise(ordered), joined, strict=True):
        if is_joined:
            places += _fill_gap(one, later)
    ends = zip(ordered, [False, *joined], [*joined, False], strict=True)
    for number, (one, has_before, has_after) in enumerate(ends):
        before = ordered[number - 1] if has_before else None
        after = ordered[number + 1] if has_after else None
        if before is None:
            places += _go_on(one, after, -beyond)
        if after is None:
            places += _go_on(one, before, beyond)
    return places


def _fill_gap(one: tuple[float, Box], later: tuple[float, Box]) -> list[Place]:
    """Return the places between two detections."""
    (time, box), (end, other) = one, later
    area, gap = min(_area(box), _area(other)), end - time
    places = []
    for start, stop in _split(gap):
        ways = [_mix(box, other, at / gap) if gap else box for at in (start, stop)]
        away = min(max(start, stop), gap - min(start, stop), gap / 2)
        grown = _grow(_join(*ways), _height(box), _DRIFT * away)
        places.append(Place(time + start, time + stop, grown, area))
    return places


def _go_on(one: tuple[float, Box], other: tuple[float, Box] | None, beyond: float) -> list[Place]:
    """Return the places after a detection, or before it if `beyond` is negative.

    Args:
        one: the last detection; the first one for the time before.
        other: the detection next to it, for the speed; None for a single one.
        beyond: seconds.
    """
    time, box = one
    places = []
    for start, stop in _split(abs(beyond)):
        way, drift = box, _SPEED
        if other is not None and other[0] != time:
            share = stop / abs(other[0] - time)
            way, drift = _join(box, _mix(box, other[1], -share)), _DRIFT
        grown = _grow(way, _height(box), _SLACK + drift * stop)
        span = (time + start, time + stop) if beyond > 0 else (time - stop, time - start)
        places.append(Place(*span, grown, _area(box)))
    return places


def _split(length: float) -> list[tuple[float, float]]:
    """Return (start, stop) of the parts of a span of time from 0, at most `_STEP` long."""
    count = max(1, math.ceil(length / _STEP))
    edges = [length * number / count for number in range(count + 1)]
    return list(pairwise(edges))


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _height(box: Box) -> float:
    return box[3] - box[1]


def _join(one: Box, other: Box) -> Box:
    x0, y0 = min(one[0], other[0]), min(one[1], other[1])
    return x0, y0, max(one[2], other[2]), max(one[3], other[3])


def _mix(one: Box, other: Box, share: float) -> Box:
    """Return the box on the way from one to the other; a negative share goes on behind the one."""
    x0, y0, x1, y1 = (a + share * (b - a) for a, b in zip(one, other, strict=True))
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _grow(box: Box, height: float, share: float) -> Box:
    by = share * height
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by
