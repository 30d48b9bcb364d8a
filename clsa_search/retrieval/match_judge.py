"""What the matches of a search mean: expected strangers, verdicts, near copies of somebody else.

Shape letters: K matches, D embedding width.
"""

import threading
from collections.abc import Sequence

import numpy as np

from clsa_search.gallery import GalleryStore, Match, Tracklet
from clsa_search.retrieval.gallery_calibration import StrangerCounter
from clsa_search.sightings.match_verdicts import CalibratedMatch, SightingResult, judge, stands_out
from clsa_search.sightings.user_verdicts import find_near_copies


class MatchJudge:
    """Judges matches by the stored calibration of a gallery; several threads may do so.

    Args:
        store: gallery.
    """

    def __init__(self, store: GalleryStore) -> None:
        self._store = store
        self._counter = StrangerCounter(store)
        self._lock = threading.Lock()

    def judge(
        self,
        query: np.ndarray,
        matches: Sequence[Match],
        searched: int,
        *,
        others: Sequence[int] = (),
        same: Sequence[int] = (),
    ) -> SightingResult:
        """Judge the sightings that a search found.

        Args:
            query: (D,) embedding of the searched person.
            matches: K matches with their tracklets.
            searched: number of sightings that passed the filter.
            others: ids of tracklets that are somebody else, by the user.
            same: ids of tracklets that are the person, by the user.

        Raises:
            InputError: there is no such tracklet.
        """
        tracklets = [one.tracklet for one in matches if one.tracklet is not None]
        similarities = np.array([one.similarity for one in matches], float)
        with self._lock:
            self._counter.refresh()
            reason, calibration = self._counter.describe(), self._counter.calibration
            cameras = [one.camera for one in tracklets]
            strangers = self._counter.compare(query, similarities, cameras, searched)
        copies = self._find_copies(query, tracklets, similarities, others, same)
        judged = []
        for i, similarity in enumerate(similarities.tolist()):
            rejected = others[copies[i]] if copies[i] >= 0 else None
            if strangers is None:
                judged.append(CalibratedMatch(similarity, rejected_like=rejected))
                continue
            expected = float(strangers.expected[i])
            judged.append(
                CalibratedMatch(
                    similarity,
                    float(strangers.scores[i]),
                    expected,
                    bool(strangers.is_bound[i]),
                    judge(expected),
                    rejected,
                )
            )
        return SightingResult(
            searched=searched,
            calibrated=strangers is not None,
            nobody=None if strangers is None else not any(map(stands_out, judged)),
            matches=judged,
            reason=reason,
            uniforms=calibration is not None and calibration.has_uniforms,
        )

    def _find_copies(
        self,
        query: np.ndarray,
        tracklets: Sequence[Tracklet],
        similarities: np.ndarray,
        others: Sequence[int],
        same: Sequence[int],
    ) -> np.ndarray:
        """Return (K,) the row in `others` that a match is a near copy of; -1: none."""
        if not len(others) or not len(tracklets):
            return np.full(len(tracklets), -1)
        ids = [one.tracklet_id for one in tracklets]
        copies = find_near_copies(
            self._read(ids),
            similarities,
            self._read(others),
            query,
            self._read(same) if len(same) else None,
        )
        for i, number in enumerate(ids):  # a verdict on the match itself comes first
            if number in same:
                copies[i] = -1
            elif number in others:
                copies[i] = others.index(number)
        return copies

    def _read(self, ids: Sequence[int]) -> np.ndarray:
        return np.array([one.embedding for one in self._store.get_tracklets(ids)], np.float32)
