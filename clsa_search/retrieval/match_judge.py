"""What the matches of a search mean: expected strangers, chances, near copies of somebody else.

Shape letters: K matches, D embedding width.
"""

from collections.abc import Sequence

import numpy as np

from clsa_search.gallery import GalleryStore, Match, Tracklet
from clsa_search.retrieval.stored_calibration import LoadedCalibration, StrangerCounter
from clsa_search.retrieval.verdict_store import LoadedProbability, VerdictReader
from clsa_search.sightings.match_verdicts import CalibratedMatch, SightingResult, judge, stands_out
from clsa_search.sightings.user_verdicts import find_near_copies


class MatchJudge:
    """Judges matches by the stored calibration and verdicts of a gallery; threads may share it.

    Args:
        store: gallery.
    """

    def __init__(self, store: GalleryStore) -> None:
        self._store = store
        self._counter = StrangerCounter(store)
        self._verdicts = VerdictReader(store)

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
        loaded = self._counter.load()
        return self.judge_tracklets(
            loaded, query, tracklets, similarities, searched, others=others, same=same
        )

    def load(self) -> LoadedCalibration:
        """Return the calibration of the gallery in its present state."""
        return self._counter.load()

    def load_verdicts(self) -> LoadedProbability:
        """Return the stored verdicts of the user in their present state."""
        return self._verdicts.load()

    def judge_tracklets(
        self,
        loaded: LoadedCalibration,
        query: np.ndarray,
        tracklets: Sequence[Tracklet],
        similarities: np.ndarray,
        searched: int,
        *,
        others: Sequence[int] = (),
        same: Sequence[int] = (),
    ) -> SightingResult:
        """Judge tracklets (K) with their similarities (K,); see `judge`."""
        copies = self._find_copies(query, tracklets, similarities, others, same)
        rejected = [others[copy] if copy >= 0 else None for copy in copies]
        known = loaded.calibration
        learned = self._verdicts.load(None if known is None else known.tail)
        pairs = zip(similarities.tolist(), rejected, strict=True)
        if loaded.scale is None:
            judged = [CalibratedMatch(similarity, rejected_like=copy) for similarity, copy in pairs]
        else:
            cameras = [one.camera for one in tracklets]
            found = loaded.scale.compare(query, similarities, cameras, searched)
            chances = learned.find_chances(found.scores, loaded.tracklets)
            columns = zip(pairs, *(column.tolist() for column in found), chances, strict=True)
            judged = [
                CalibratedMatch(
                    similarity,
                    z=z,
                    expected_strangers=count,
                    is_bound=is_bound,
                    verdict=judge(count),
                    rejected_like=copy,
                    probability=chance if copy is None else None,
                )
                for (similarity, copy), z, count, is_bound, chance in columns
            ]
        return SightingResult(
            searched=searched,
            calibrated=loaded.scale is not None,
            nobody=None if loaded.scale is None else not any(map(stands_out, judged)),
            matches=judged,
            reason=loaded.describe(),
            uniforms=known is not None and known.has_uniforms,
            verdicts=learned.counts,
            damage=learned.fault,
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
