"""Compare expected with realised strangers on frames of the MOTChallenge.

python -m benchmarks.strangers.street_strangers MOT17/train [--absent 0.33] [--repeats 20]

A part of the people is taken out of the gallery and searched for, in random draws. Each scene is a
camera. Embeddings are color histograms of six horizontal stripes: they know clothes, as re-ID does,
and need no weights. Prints realised over expected strangers, in all scenes and in other scenes than
the query's. The least number of pairs (500) does not hold here: the frames show too few people.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.strangers.synthetic_galleries import normalize
from clsa_search.data.image_io import read_image
from clsa_search.sightings.calibration import TrackletSample, standardize_pairs, standardize_random
from clsa_search.sightings.cohort import Cohort, stretch
from clsa_search.sightings.impostors import pair_people_of_frames
from clsa_search.sightings.stranger_tail import fit_tail

LEVELS = 0.1, 1.0, 10.0
_MIN_VISIBLE, _MIN_SIDE = 0.3, 8
_STRIPES, _BINS = 6, (4, 4, 4)


class Sighted(NamedTuple):
    """A person in a frame: scene, number of the frame, identity, box, embedding."""

    scene: str
    frame: int
    person: str
    box: tuple[float, ...]
    embedding: np.ndarray


def read_people(folder: Path) -> list[Sighted]:
    """Read all visible people of the scenes of a folder."""
    found = []
    for scene in sorted(path for path in folder.iterdir() if path.is_dir()):
        rows = np.loadtxt(scene / "gt" / "gt.txt", delimiter=",", ndmin=2)
        for frame in np.unique(rows[:, 0]).astype(int).tolist():
            file = scene / "img1" / f"{frame:06d}.jpg"
            if not file.is_file():
                continue
            image = read_image(file)
            for row in rows[rows[:, 0] == frame]:
                person, box = row[1], (*row[2:4], *(row[2:4] + row[4:6]))
                crop = cut(image, box)
                if row[6] == row[7] == 1 and row[8] >= _MIN_VISIBLE and min(crop.shape) > 0:
                    name = f"{scene.name} {person:.0f}"
                    found.append(Sighted(scene.name, frame, name, box, embed(crop)))
    return found


def cut(image: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """Cut a box; empty if too little lies in the image."""
    x0, y0, x1, y1 = (max(0, int(value)) for value in box)
    crop = image[y0:y1, x0:x1]
    return crop if min(crop.shape[:2]) >= _MIN_SIDE else crop[:0]


def embed(crop: np.ndarray) -> np.ndarray:
    """Return the square roots of color histograms of stripes as an embedding."""
    parts = []
    for stripe in np.array_split(crop, _STRIPES):
        counts, _ = np.histogramdd(stripe.reshape(-1, 3), bins=_BINS, range=((0, 256),) * 3)
        parts.append(np.sqrt(counts.ravel() / counts.sum()))
    return normalize(np.concatenate(parts)).astype(np.float32)


def measure(people: Sequence[Sighted], absent: float, rng: np.random.Generator) -> list[float]:
    """Return the ratios at each level, those in other scenes, and the number of pairs."""
    names = sorted({one.person for one in people})
    order = rng.permutation(len(names))
    count = max(1, int(absent * len(names)))
    searched, kept = ({names[row] for row in rows} for rows in (order[:count], order[count:]))
    groups = {name: [one for one in people if one.person == name] for name in names}
    gallery = [groups[name] for name in names if name in kept]
    means = normalize(np.array([np.mean([one.embedding for one in seen], 0) for seen in gallery]))
    sample = TrackletSample(
        means.astype(np.float32),
        np.array([seen[len(seen) // 2].embedding for seen in gallery]),
        [seen[0].scene for seen in gallery],
    )
    pairs = _pair(gallery)
    cohort = Cohort(sample.embeddings, sample.cameras)
    random = standardize_random(cohort, sample.queries[cohort.order])
    tail = fit_tail(standardize_pairs(cohort, sample, pairs), random, len(pairs))
    queries = [groups[name][0] for name in names if name in searched]
    embeddings = np.array([one.embedding for one in queries])
    locations, scales = cohort.measure(embeddings)
    similarities = stretch(embeddings @ sample.embeddings.T)
    scores = similarities - locations[:, cohort.encode(sample.cameras)]
    expected = len(gallery) * tail.find_rates(scores / scales[:, None])
    elsewhere = np.array([[one.scene != scene for scene in sample.cameras] for one in queries])
    shares = [float((expected <= level).mean()) for level in LEVELS]
    others = [float((expected <= level)[elsewhere].mean()) for level in LEVELS]
    pairs_of = zip([*shares, *others], LEVELS * 2, strict=True)
    return [*(len(gallery) * share / level for share, level in pairs_of), len(pairs)]


def _pair(gallery: Sequence[Sequence[Sighted]]) -> np.ndarray:
    rows = [(one, number) for number, seen in enumerate(gallery) for one in seen]
    keys = [(one.scene, one.frame) for one, _ in rows]
    codes = {key: code for code, key in enumerate(dict.fromkeys(keys))}
    return pair_people_of_frames(
        np.array([codes[key] for key in keys]),
        np.array([number for _, number in rows]),
        np.array([one.box for one, _ in rows]),
        np.ones(len(rows)),
        limit=len(rows) * len(rows),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--absent", type=float, default=0.33)
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args(arguments)
    people = read_people(args.folder)
    rng = np.random.default_rng(0)
    found = np.array([measure(people, args.absent, rng) for _ in range(args.repeats)])
    means, spread = found.mean(axis=0), found.std(axis=0)
    count = len({one.person for one in people})
    print(f"{len(people)} boxes of {count} people, {means[-1]:.0f} pairs of certain strangers")
    for name, first in (("all scenes", 0), ("other scenes", len(LEVELS))):
        values = [
            f"{means[first + i]:.2f} ± {spread[first + i]:.2f} at {level:g}"
            for i, level in enumerate(LEVELS)
        ]
        print(f"{name}: realised over expected {', '.join(values)}")


if __name__ == "__main__":
    main()
