"""The matches of several queries as one table."""

import csv
import io
from collections.abc import Sequence
from datetime import timezone, tzinfo

from clsa_search.retrieval.results import QueryResult
from clsa_search.retrieval.sighting_rows import format_iso, guard_formula

MATCH_COLUMNS = (
    *("query", "rank", "similarity", "expected_strangers", "verdict", "probability"),
    *("sighting", "camera"),
    *("first", "last", "source", "frame", "x0", "y0", "x1", "y1", "id"),
)


def write_matches_csv(results: Sequence[QueryResult], zone: tzinfo = timezone.utc) -> bytes:
    """Return the matches of all queries as a table that spreadsheets read, see `write_csv`.

    Args:
        results: results of queries; the title names each.
        zone: time zone of the times.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(MATCH_COLUMNS)
    for result in results:
        for rank, match in enumerate(result.matches, 1):
            one, tracklet = match.detection, match.tracklet
            first, last = (
                (one.time, one.time) if tracklet is None else (tracklet.first, tracklet.last)
            )
            judged = result.judge(rank)
            expected = None if judged is None else judged.expected_strangers
            chance = None if judged is None else judged.probability
            writer.writerow(
                [
                    *(guard_formula(result.title), rank, f"{match.similarity:.4f}"),
                    "" if expected is None else f"{expected:.4g}",
                    guard_formula((judged and judged.verdict) or ""),
                    "" if chance is None else f"{chance:.3f}",
                    "" if tracklet is None else tracklet.tracklet_id,
                    guard_formula(one.camera or ""),
                    *(format_iso(first, zone), format_iso(last, zone)),
                    guard_formula(one.source),
                    "" if one.frame is None else one.frame,
                    *(f"{value:.1f}" for value in one.box),
                    one.detection_id,
                ]
            )
    return text.getvalue().encode("utf-8-sig", errors="replace")
