"""Compare the probability by a user's verdicts with the share of true matches.

python -m benchmarks.strangers.verdict_probability [--verdicts 300 1200] [--seeds 3] [--recipe easy]

A user judges the best matches of some searches, for people who are in the gallery and as many who
are not; the probability is fitted, and compared on other searches of the same kind: in the same
gallery, in one of its cameras, and in a gallery of twice as many people. Prints the share of
the same person among the matches whose stated probability lies in some range, with their number,
and the mean distance of the two. Seconds per gallery on one core.
"""

import argparse
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.strangers.synthetic_galleries import RECIPES, SyntheticGallery, make_gallery
from clsa_search.sightings.calibration import StrangerScale, TrackletSample, fit_strangers
from clsa_search.sightings.cohort import Cohort, sample_cohort
from clsa_search.sightings.user_verdicts import (
    ProbabilityCurve,
    fit_probability,
    score_matches,
)

EDGES = 0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0
SHOWN = 5  # matches of a search that the user judges
PLACES = "the same gallery", "one camera", "twice the people"


class Judged(NamedTuple):
    """Matches of searches, a row for each search.

    Args:
        z: (S, SHOWN) standardized similarities.
        same: (S, SHOWN) whether the match is the person.
    """

    z: np.ndarray
    same: np.ndarray


class Figures(NamedTuple):
    """Stated and realised probabilities, by range of `EDGES`.

    Args:
        stated: sum of the stated probabilities of the matches there.
        same: number of matches there that are the person.
        matches: number of matches there.
    """

    stated: np.ndarray
    same: np.ndarray
    matches: np.ndarray

    @property
    def error(self) -> float:
        """Mean distance of stated and realised, weighed by the matches."""
        return float(np.abs(self.stated - self.same).sum() / self.matches.sum())


class CalibratedGallery:
    """A synthetic gallery and its scale of strangers.

    Args:
        gallery: the gallery.
    """

    def __init__(self, gallery: SyntheticGallery) -> None:
        self.gallery = gallery
        rows = sample_cohort(gallery.cameras)
        names = [gallery.cameras[row] for row in rows]
        chosen = TrackletSample(gallery.embeddings[rows], gallery.queries[rows], names)
        everyone = TrackletSample(gallery.embeddings, gallery.queries, gallery.cameras)
        tail, _ = fit_strangers(chosen, everyone, gallery.pairs)
        assert tail is not None
        self.tail = tail
        self.scale = StrangerScale(tail, Cohort(chosen.embeddings, names))

    def __len__(self) -> int:
        return len(self.gallery.embeddings)

    def search(self, camera: str | None = None) -> Judged:
        """Search the gallery, or one of its cameras, for all queries in random order."""
        gallery = self.gallery
        there = np.flatnonzero([camera in (None, one) for one in gallery.cameras])
        cameras = [gallery.cameras[one] for one in there]
        count = min(len(gallery.present), len(gallery.strangers))
        queries = np.concatenate([gallery.present[:count], gallery.strangers[:count]])
        people = np.concatenate([gallery.present_people[:count], np.full(count, -1)])
        found = []
        for row in np.random.default_rng(0).permutation(len(queries)).tolist():
            similarities = gallery.embeddings[there] @ queries[row]
            scores = self.scale.compare(queries[row], similarities, cameras, len(there)).scores
            best = np.argsort(-scores)[:SHOWN]
            found.append((scores[best], gallery.people[there[best]] == people[row]))
        return Judged(*(np.array(column) for column in zip(*found, strict=True)))


def keep_people(gallery: SyntheticGallery, share: float) -> SyntheticGallery:
    """Return a gallery with a share of its people."""
    last = int(share * (gallery.people.max() + 1))
    rows = np.flatnonzero(gallery.people < last)
    places = np.full(len(gallery.people), -1)
    places[rows] = np.arange(len(rows))
    pairs = places[gallery.pairs]
    present = gallery.present_people < last
    return SyntheticGallery(
        gallery.embeddings[rows],
        gallery.queries[rows],
        [gallery.cameras[row] for row in rows],
        gallery.people[rows],
        pairs[(pairs >= 0).all(axis=1)],
        gallery.strangers,
        gallery.present[present],
        gallery.present_people[present],
    )


def fit(judged: Judged, gallery: CalibratedGallery, verdicts: int) -> ProbabilityCurve | None:
    """Fit the probability on the first verdicts of some searches; None with too few."""
    scores = score_matches(judged.z.ravel()[:verdicts], gallery.tail, len(gallery))
    return fit_probability(scores, judged.same.ravel()[:verdicts])


def compare(curve: ProbabilityCurve, tested: Judged, gallery: CalibratedGallery) -> Figures:
    """Compare the probability with the matches of a half of the searches, the last one."""
    half = len(tested.z) // 2
    scores = score_matches(tested.z[half:].ravel(), gallery.tail, len(gallery))
    chances = curve.find_chances(scores)
    codes = np.clip(np.searchsorted(EDGES, chances, side="right") - 1, 0, len(EDGES) - 2)
    weights = chances, tested.same[half:].ravel(), np.ones(len(codes))
    return Figures(*(np.bincount(codes, one, minlength=len(EDGES) - 1) for one in weights))


def measure(gallery: SyntheticGallery, verdicts: Sequence[int]) -> dict[tuple[int, str], Figures]:
    """Return the figures by number of verdicts and place of the tested searches."""
    whole, part = CalibratedGallery(gallery), CalibratedGallery(keep_people(gallery, 0.5))
    found, found_in_part = whole.search(), part.search()
    camera = whole.search(gallery.cameras[0])
    figures = {}
    for count in verdicts:
        if curve := fit(found, whole, count):
            figures[count, PLACES[0]] = compare(curve, found, whole)
            figures[count, PLACES[1]] = compare(curve, camera, whole)
        if curve := fit(found_in_part, part, count):
            figures[count, PLACES[2]] = compare(curve, found, whole)
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    from tabulate import tabulate

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--verdicts", type=int, nargs="*", default=[300, 1200])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", nargs="*", choices=RECIPES, default=["easy", "hard", "clothes"])
    args = parser.parse_args(arguments)
    rows = []
    for name in args.recipe:
        galleries = [make_gallery(RECIPES[name], seed) for seed in range(args.seeds)]
        found = [measure(gallery, args.verdicts) for gallery in galleries]
        for key in itertools.product(args.verdicts, PLACES):
            figures = [one[key] for one in found if key in one]
            rows.append([name, *key, len(figures), *(_format(figures) if figures else ())])
    ranges = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(EDGES)]
    headers = ["gallery", "verdicts", "searched", "fitted", *ranges, "error"]
    print(tabulate(rows, headers, disable_numparse=True))


def _format(figures: Sequence[Figures]) -> list[str]:
    """Return realised shares and numbers over all galleries, and the mean error."""
    _, same, matches = np.sum(figures, axis=0).astype(int).tolist()
    cells = [
        f"{hits / count:.2f} ({count})" if count else ""
        for hits, count in zip(same, matches, strict=True)
    ]
    return [*cells, f"{np.mean([one.error for one in figures]):.3f}"]


if __name__ == "__main__":
    main()
