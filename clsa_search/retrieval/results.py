"""Results of queries, and their form as text."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tabulate import tabulate

from clsa_search.gallery import GalleryStore, Match, StoredDetection, Tracklet
from clsa_search.retrieval.time_format import format_time
from clsa_search.sightings.match_verdicts import (
    CalibratedMatch,
    SightingResult,
    describe_chance,
    describe_result,
    describe_strangers,
    spans_midnight,
)
from clsa_search.structures import PersonImage
from clsa_search.wording import count_noun

_HEADERS = ["rank", "similarity", "source", "frame", "time", "camera", "box", "score", "id"]
_SIGHTING_HEADERS = ["seen", "first", "last"]  # in place of the time
_STRANGER_HEADERS = ["strangers", "verdict"]  # expected number of strangers this alike
_CHANCE_HEADER = "same"  # chance of the same person by the user's verdicts
_RIGHT_ALIGNED = {"rank", "similarity", "strangers", "same", "frame", "time", "score", "id"}


@dataclass(frozen=True)
class QueryResult:
    """A query and its matches in a gallery.

    Args:
        title: name of the query.
        query_images: images of the queried person, at least one.
        matches: matches of the gallery, most similar first.
        fingerprints: states of the matches' files at the time of indexing; a changed file is not
            shown. Files without a fingerprint are not checked.
        answer: what is said of the matches, in the same order; None in a search for detections.
        searched: number of sightings, or of detections, within the filter.
        query_times: times of the query images in seconds; None where unknown.
        query_id: random name of the query, for verdicts on its matches, see `say_verdicts`.
    """

    title: str
    query_images: Sequence[PersonImage]
    matches: list[Match]
    fingerprints: Mapping[str, str | None] = field(default_factory=dict)
    answer: SightingResult | None = None
    searched: int = 0
    query_times: Sequence[float | None] = ()
    query_id: str = field(default_factory=lambda: secrets.token_urlsafe(16), compare=False)

    @property
    def detections(self) -> list[StoredDetection]:
        """Detections of the matches, most similar first."""
        return [match.detection for match in self.matches]

    @property
    def summary(self) -> str:
        """The answer as one sentence; empty in a search for detections."""
        return "" if self.answer is None else describe_result(self.answer)

    def judge(self, rank: int) -> CalibratedMatch | None:
        """Return what is said of a match, from rank 1; None in a search for detections."""
        return None if self.answer is None else self.answer.matches[rank - 1]

    def is_other_day(self, match: Match) -> bool:
        """Return whether a midnight lies between a match and all images of the person."""
        first = match.detection.time if match.tracklet is None else match.tracklet.first
        return spans_midnight(self.query_times, first)


def format_results(results: Sequence[QueryResult]) -> str:
    """Return a table for each query; its boxes have the form of the option --box."""
    parts = [
        (
            *(printable(one.title), printable(one.summary), *list_warnings(one)),
            *(_format_table(one), describe_days(one)),
        )
        for one in results
    ]
    return "\n\n".join("\n".join(filter(None, part)) for part in parts)


def list_warnings(result: QueryResult) -> list[str]:
    """Return doubts on the verdicts of an answer, as sentences."""
    answer, lines = result.answer, []
    if answer is not None and answer.calibrated and answer.reason:
        lines.append(f"The calibration is old: {answer.reason}.")
    if answer is not None and answer.uniforms:
        lines.append("Many strangers here look as alike as people in uniform: look twice.")
    if answer is not None and answer.damage:
        lines.append(printable(f"{answer.damage}."))
    return lines


def describe_days(result: QueryResult) -> str:
    """Say how many matches are of another day than the query; empty for none."""
    count = sum(map(result.is_other_day, result.matches))
    if not count:
        return ""
    verb = "is" if count == 1 else "are"
    return f"{count_matches(count)} {verb} of another day than the query: clothes may have changed."


def printable(text: str) -> str:
    """Return the text, escaped if it contains control characters of a terminal."""
    return text if text.isprintable() else ascii(text)


def count_sightings(store: GalleryStore) -> str:
    """Return "212 sightings, 2,816 detections" of a gallery."""
    sightings = count_noun(store.count_tracklets(), "sighting")
    return f"{sightings}, {count_noun(store.count(), 'detection')}"


def describe_span(tracklet: Tracklet) -> str:
    """Return how long and how often a person was seen, as "12 s, 13 frames"."""
    if tracklet.first_frame is None:
        return "image"
    frames = count_noun(tracklet.detections, "frame")
    if tracklet.first is None or tracklet.last is None:
        return frames
    return f"{tracklet.last - tracklet.first:.0f} s, {frames}"


def count_matches(count: int) -> str:
    """Return "no matches", "1 match", "2 matches"."""
    return f"{count or 'no'} match{'' if count == 1 else 'es'}"


def _format_table(result: QueryResult) -> str:
    if not result.matches:
        return count_matches(0)
    headers = list(_HEADERS)
    calibrated = result.answer is not None and result.answer.calibrated
    with_chances = result.answer is not None and any(
        one.probability is not None for one in result.answer.matches
    )
    if calibrated:
        headers[2:2] = [*_STRANGER_HEADERS, *([_CHANCE_HEADER] if with_chances else ())]
    if any(match.tracklet for match in result.matches):
        place = headers.index("time")
        headers[place : place + 1] = _SIGHTING_HEADERS
    rows = [
        [
            rank,
            f"{match.similarity:.3f}",
            *(_format_judgment(result.judge(rank), with_chances) if calibrated else ()),
            printable(match.detection.source),
            "" if match.detection.frame is None else match.detection.frame,
            *_format_times(match),
            printable(match.detection.camera or ""),
            ",".join(f"{value:.0f}" for value in match.detection.box),
            f"{match.detection.score:.2f}",
            match.detection.detection_id,
        ]
        for rank, match in enumerate(result.matches, 1)
    ]
    alignment = ["right" if header in _RIGHT_ALIGNED else "left" for header in headers]
    # numbers stay text: a camera "007" keeps its zeros
    return tabulate(rows, headers, disable_numparse=True, colalign=alignment)


def _format_judgment(judged: CalibratedMatch | None, with_chance: bool) -> list[str]:
    if judged is None:
        return []
    cells = [describe_strangers(judged), judged.verdict or ""]
    return [*cells, describe_chance(judged)] if with_chance else cells


def _format_times(match: Match) -> list[str]:
    """Return the time of a detection; of a tracklet, how long it was seen, first and last time."""
    tracklet = match.tracklet
    if tracklet is None:
        return [format_time(match.detection.time)]
    return [describe_span(tracklet), format_time(tracklet.first), format_time(tracklet.last)]
