"""Compare expected with realised strangers, for people who are not in the gallery.

python -m benchmarks.strangers.realised_strangers [--seeds 8] [--recipe easy ...]

Prints a table: realised over expected strangers at 0.01, 0.1, 1 and 10, and the share of people in
the gallery whose best match is theirs and stands out, at 1 % and 10 % false positives. Values are
means over galleries, with two standard errors. The settings were chosen on the recipes before the
last three, with seeds from 100; report others. Seconds per gallery on one core.
"""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.strangers.synthetic_galleries import (
    HELD_OUT,
    RECIPES,
    SyntheticGallery,
    make_gallery,
)
from clsa_search.sightings.calibration import TrackletSample, fit_strangers
from clsa_search.sightings.cohort import Cohort, sample_cohort, stretch

LEVELS = 0.01, 0.1, 1.0, 10.0
FALSE_POSITIVES = 0.01, 0.1


class Realised(NamedTuple):
    """What the queries of one gallery found.

    Args:
        ratios: realised over expected strangers at each of `LEVELS`.
        found: share of the present people found at each of `FALSE_POSITIVES`.
        found_by_similarity: the same, ranked by similarity alone.
        stated: share of absent people with a sighting that should stand out in 10 % of searches.
    """

    ratios: tuple[float, ...]
    found: tuple[float, ...]
    found_by_similarity: tuple[float, ...]
    stated: float


def measure(gallery: SyntheticGallery) -> Realised:
    """Calibrate a gallery and search it for its queries."""
    rows = sample_cohort(gallery.cameras)
    everyone = TrackletSample(gallery.embeddings, gallery.queries, gallery.cameras)
    names = [gallery.cameras[row] for row in rows]
    chosen = TrackletSample(gallery.embeddings[rows], gallery.queries[rows], names)
    tail, _ = fit_strangers(chosen, everyone, gallery.pairs)
    cohort = Cohort(chosen.embeddings, names)
    assert tail is not None
    codes = cohort.encode(gallery.cameras)

    def score(queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        locations, scales = cohort.measure(queries)
        similarities = queries @ gallery.embeddings.T
        return similarities, (stretch(similarities) - locations[:, codes]) / scales[:, None]

    absent, absent_scores = score(gallery.strangers)
    present, present_scores = score(gallery.present)
    expected = len(codes) * tail.find_rates(absent_scores)
    ratios = [float((expected <= level).sum(axis=1).mean() / level) for level in LEVELS]
    is_theirs = gallery.people == gallery.present_people[:, None]
    tenth = -np.log1p(-FALSE_POSITIVES[1])  # so many strangers: one or more in 10 % of searches
    return Realised(
        tuple(ratios),
        _find_shares(absent_scores, present_scores, is_theirs),
        _find_shares(absent, present, is_theirs),
        float((expected.min(axis=1) <= tenth).mean()),
    )


def _find_shares(
    absent: np.ndarray, present: np.ndarray, is_theirs: np.ndarray
) -> tuple[float, ...]:
    """Return the share of present people above the score that so many absent people reach."""
    theirs = np.where(is_theirs, present, -np.inf).max(axis=1)
    limits = np.quantile(absent.max(axis=1), [1 - share for share in FALSE_POSITIVES])
    return tuple(float((theirs > limit).mean()) for limit in limits)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    from tabulate import tabulate

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    recipes = RECIPES | HELD_OUT
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--recipe", nargs="*", choices=recipes, default=list(recipes))
    args = parser.parse_args(arguments)
    rows = []
    for name in args.recipe:
        found = []
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            gallery = make_gallery(recipes[name], seed)
            one = measure(gallery)
            counts = len(gallery.embeddings), len(gallery.pairs)
            found.append([*counts, *one.ratios, one.stated, *one.found, *one.found_by_similarity])
        rows.append([name, *_summarize(np.array(found))])
        print(*rows[-1], flush=True)
    names = [f"at {level:g}" for level in LEVELS]
    found = "found at 1 %", "at 10 %", "by similarity at 1 %", "at 10 %"
    headers = ["gallery", "sightings", "pairs", *names, "stated 10 %", *found]
    print(tabulate(rows, headers, disable_numparse=True))


def _summarize(values: np.ndarray) -> list[str]:
    """Return the means over galleries (G, V): two counts, then values with two standard errors."""
    errors = 2 * values.std(axis=0) / np.sqrt(max(len(values) - 1, 1))
    pairs = list(zip(values.mean(axis=0), errors, strict=True))
    counts = [f"{mean:.0f}" for mean, _ in pairs[:2]]
    return [*counts, *(f"{mean:.2f} ± {error:.2f}" for mean, error in pairs[2:])]


if __name__ == "__main__":
    main()
