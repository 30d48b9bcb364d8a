"""Coverage as rows of a page: bars of footage, marks of sightings, gaps in words."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from clsa_search.sightings.coverage import CameraCoverage
from clsa_search.wording import count_noun

_MAX_GAPS = 12  # of a camera, in words
_FINEST = 0.05  # percent of a row; closer bars become one
_UNITS = (("d", 86400), ("h", 3600), ("min", 60))

Span = tuple[float, float]


@dataclass(frozen=True)
class Lane:
    """The row of a camera.

    Args:
        name: name of the camera.
        bars: (left, width) of footage in percent of the row.
        marks: places of sightings in percent.
        covered: length of the footage in words.
        gaps: (start, end, length) of the longest gaps in words, by time.
        shorter: number of the other gaps.
        missing: length of all gaps in words; empty without gaps.
        undated: number of files without a date.
    """

    name: str
    bars: list[Span]
    marks: list[float]
    covered: str
    gaps: list[tuple[str, str, str]]
    shorter: int
    missing: str
    undated: int


@dataclass(frozen=True)
class CoverageView:
    """All rows with their summary.

    Args:
        summary: one sentence.
        lanes: rows of the cameras with a date.
        first: begin of the rows in words; empty without one.
        last: end of the rows.
    """

    summary: str
    lanes: list[Lane]
    first: str
    last: str


def draw_coverage(
    coverage: Sequence[CameraCoverage],
    format_moment: Callable[[float], str],
    moments: Iterable[tuple[str | None, float]] = (),
) -> CoverageView:
    """Return rows of coverage.

    Args:
        coverage: times with and without footage of each camera.
        format_moment: writes a time in seconds.
        moments: camera and time of sightings to mark.
    """
    edges = [edge for one in coverage for span in (*one.spans, *one.gaps) for edge in span]
    if not edges:
        return CoverageView(describe_coverage(coverage), [], "", "")
    first, last = min(edges), max(edges)
    scale = 100 / max(last - first, 1e-9)
    moments = list(moments)
    lanes = []
    for one in coverage:
        times = {time for camera, time in moments if camera == one.camera}
        marks = [round((time - first) * scale, 3) for time in sorted(times)]
        longest = sorted(one.gaps, key=_measure, reverse=True)[:_MAX_GAPS]
        gaps = [
            (format_moment(gap[0]), format_moment(gap[1]), format_length(_measure(gap)))
            for gap in sorted(longest)
        ]
        lanes.append(
            Lane(
                "no camera named" if one.camera is None else one.camera,
                _join_bars([((a - first) * scale, (b - first) * scale) for a, b in one.spans]),
                [place for place in marks if 0 <= place <= 100],
                format_length(_sum(one.spans)),
                gaps,
                len(one.gaps) - len(gaps),
                format_length(_sum(one.gaps)) if one.gaps else "",
                one.undated,
            )
        )
    summary = describe_coverage(coverage)
    return CoverageView(summary, lanes, format_moment(first), format_moment(last))


def describe_coverage(coverage: Sequence[CameraCoverage]) -> str:
    """Say in one sentence how much footage was searched and how much is missing."""
    undated = sum(one.undated for one in coverage)
    files = count_noun(undated, "file has", "files have")
    if not any(one.spans or one.gaps for one in coverage):
        return f"{files} no date: which hours were filmed is unknown." if undated else ""
    cameras = count_noun(len(coverage), "camera")
    text = f"Searched: {format_length(sum(_sum(one.spans) for one in coverage))} of {cameras}"
    missing = sum(_sum(one.gaps) for one in coverage)
    text += f"; {format_length(missing)} without footage." if missing else ", without gaps."
    return text + (f" {files} no date." if undated else "")


def format_length(seconds: float) -> str:
    """Return a length of time by its two largest units, as "2 h 5 min" or "40 s"."""
    left = round(seconds)
    parts: list[str] = []
    for name, size in _UNITS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count} {name}")
        if len(parts) == 2:
            break
    else:
        parts.append(f"{left} s")
    return " ".join(part for part in parts if part[:2] != "0 ") or "0 s"


def _join_bars(bars: Sequence[Span]) -> list[Span]:
    """Return (left, width) of bars (start, end), joined where none could see a gap."""
    joined: list[Span] = []
    for start, end in bars:
        if joined and start - joined[-1][1] < _FINEST:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    return [(round(start, 3), round(max(end - start, _FINEST), 3)) for start, end in joined]


def _measure(span: Span) -> float:
    return span[1] - span[0]


def _sum(spans: Iterable[Span]) -> float:
    return sum(map(_measure, spans))
