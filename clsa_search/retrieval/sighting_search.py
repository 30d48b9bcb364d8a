"""Search for sightings, ranked by the number of strangers that would look as alike."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, GalleryStore, Match
from clsa_search.gallery.missing_rows import repeat_read
from clsa_search.retrieval.match_judge import MatchJudge
from clsa_search.sightings.match_verdicts import CalibratedMatch, SightingResult, stands_out
from clsa_search.sightings.ranking_tracklets import read_matches

_CANDIDATES = 2  # for each match, by similarity, before they are ranked among strangers


@dataclass(frozen=True)
class SightingChoice:
    """What the user accepts of a search for sightings.

    Args:
        max_strangers: drop sightings with more expected strangers; needs a calibrated gallery.
        same: ids of sightings that are the person, by the user; deleted ones do not count.
        others: ids of sightings of somebody else, by the user; deleted ones do not count.
    """

    max_strangers: float | None = None
    same: Sequence[int] = ()
    others: Sequence[int] = ()


def search_sightings(
    store: GalleryStore,
    judge: MatchJudge,
    embedding: np.ndarray,
    k: int,
    where: Filter | None = None,
    choice: SightingChoice | None = None,
) -> tuple[list[Match], SightingResult]:
    """Find the sightings of a person.

    In a calibrated gallery they are ranked by their expected strangers, else by similarity; those
    like somebody else come last.

    Args:
        store: gallery.
        judge: judges its matches.
        embedding: (D,) of unit length.
        k: maximum number of matches.
        where: filter of the sightings.
        choice: what the user accepts; by default everything.

    Returns:
        The matches, best first, and what is said of each.

    Raises:
        InputError: the choice bounds the strangers and the gallery is not calibrated.
    """
    chosen = choice or SightingChoice()
    return repeat_read(lambda: _search(store, judge, embedding, k, where, chosen))


def _search(
    store: GalleryStore,
    judge: MatchJudge,
    embedding: np.ndarray,
    k: int,
    where: Filter | None,
    choice: SightingChoice,
) -> tuple[list[Match], SightingResult]:
    with store.snapshot():
        loaded = judge.load()
        if choice.max_strangers is not None and loaded.scale is None:
            raise InputError(
                f"{store.address}: is not calibrated: {loaded.describe()}; expected a search "
                "without a number of strangers"
            )
        searched = loaded.tracklets if where is None else store.count_tracklets(where)
        same, others = (_keep_stored(store, ids) for ids in (choice.same, choice.others))
        is_one_camera = where is not None and len(where.cameras or ()) == 1
        # strangers of one camera keep the order of similarities
        is_final = (loaded.scale is None or is_one_camera) and not others
        hits = store.search_tracklets(embedding[None], k if is_final else _CANDIDATES * k, where)
        tracklets = store.get_tracklets(hits.ids[0], embeddings=False)
        similarities = hits.similarities[0].astype(float)
        answer = judge.judge_tracklets(
            loaded,
            embedding,
            tracklets,
            similarities,
            searched,
            others=others,
            same=same,
        )
        rows = _rank(answer.matches, choice.max_strangers)[:k]
        chosen = [tracklets[row] for row in rows]
        matches = read_matches(store, chosen, similarities[rows].tolist())
    judged = [answer.matches[row] for row in rows]
    nobody = not any(map(stands_out, judged)) if answer.calibrated else None
    return matches, replace(answer, matches=judged, nobody=nobody)


def _keep_stored(store: GalleryStore, ids: Sequence[int]) -> Sequence[int]:
    """Return the ids of stored sightings: another client may have deleted the others since."""
    try:
        store.get_tracklets(ids, embeddings=False)
        return ids
    except InputError:
        if len(ids) == 1:
            return []
    return [one for number in ids for one in _keep_stored(store, [number])]


def _rank(matches: Sequence[CalibratedMatch], max_strangers: float | None) -> list[int]:
    """Return the rows of the accepted matches, best first."""
    rows = range(len(matches))
    if max_strangers is not None:
        rows_kept = [row for row in rows if _count(matches[row]) <= max_strangers]
    else:
        rows_kept = list(rows)
    keys = [(one.rejected_like is not None, -(one.z or 0.0)) for one in matches]
    return sorted(rows_kept, key=keys.__getitem__)


def _count(match: CalibratedMatch) -> float:
    return np.inf if match.expected_strangers is None else match.expected_strangers
