"""What was looked at: the times that the footage of each camera covers, and its gaps."""

from collections.abc import Iterable
from dataclasses import dataclass

TOLERANCE = 5.0  # seconds; clips that follow each other may lose a moment


@dataclass(frozen=True)
class Footage:
    """The span of a file.

    Args:
        camera: name of the camera; None if unknown.
        start: time of its first frame in seconds; None if unknown.
        end: time of its last indexed frame in seconds; None if unknown.
    """

    camera: str | None
    start: float | None
    end: float | None


@dataclass(frozen=True)
class CameraCoverage:
    """The times with and without footage of a camera.

    Args:
        camera: name of the camera; None if unknown.
        spans: (start, end) in seconds with footage, ascending and apart.
        gaps: (start, end) without footage, ascending.
        undated: number of its files without a known time; they may lie in a gap.
    """

    camera: str | None
    spans: tuple[tuple[float, float], ...]
    gaps: tuple[tuple[float, float], ...]
    undated: int


def find_coverage(
    footage: Iterable[Footage],
    since: float | None = None,
    until: float | None = None,
    tolerance: float = TOLERANCE,
) -> list[CameraCoverage]:
    """Find the times with and without footage of each camera.

    Args:
        footage: all files.
        since: begin of the question in seconds; by default the first frame of all cameras.
        until: its end; by default the last frame of all cameras.
        tolerance: seconds between two files that are no gap.

    Returns:
        One record for each camera, by name.
    """
    footage = list(footage)
    dated = [one for one in footage if one.start is not None and one.end is not None]
    begins = [one.start for one in dated if one.start is not None]
    ends = [one.end for one in dated if one.end is not None]
    since = min(begins, default=0.0) if since is None else since
    until = max(ends, default=since) if until is None else until
    cameras = sorted({one.camera for one in footage}, key=lambda name: (name is None, name or ""))
    result = []
    for camera in cameras:
        mine = [one for one in footage if one.camera == camera]
        pairs = [(one.start, one.end) for one in mine if one.start is not None]
        known = [(start, end) for start, end in pairs if end is not None]
        spans = _join_spans(known, since, until, tolerance)
        gaps = _find_gaps(spans, since, until, tolerance)
        result.append(CameraCoverage(camera, spans, gaps, len(mine) - len(known)))
    return result


def _join_spans(
    spans: list[tuple[float, float]], since: float, until: float, tolerance: float
) -> tuple[tuple[float, float], ...]:
    """Return spans cut to the question; those that touch become one."""
    joined: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        start, end = max(start, since), min(end, until)
        if start > end:
            continue
        if joined and start - joined[-1][1] <= tolerance:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return tuple(joined)


def _find_gaps(
    spans: tuple[tuple[float, float], ...], since: float, until: float, tolerance: float
) -> tuple[tuple[float, float], ...]:
    """Return the times between spans that are longer than the tolerance."""
    edges = [since, *(edge for span in spans for edge in span), until]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return tuple((start, end) for start, end in pairs if end - start > tolerance)
