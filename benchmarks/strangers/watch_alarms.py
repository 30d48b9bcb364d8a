"""Compare the asked with the realised false alarms of a watch list.

python -m benchmarks.strangers.watch_alarms [--seeds 3] [--recipe easy ...] [--days 10] [--hours 24]

Footage of a synthetic gallery comes in steps of some hours; after each, the gallery is calibrated
where needed and the watch list is compared, as `clsa-search index` does. Watched are people who
never come, for false alarms, and people who do, for what is found. A list has five people with
three images each.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from benchmarks.strangers.synthetic_galleries import (
    RECIPES,
    SyntheticGallery,
    make_gallery,
    normalize,
)
from clsa_search.gallery import GalleryImage, GalleryStore, IndexProgress, Tracklet, open_store
from clsa_search.retrieval.gallery_calibration import refresh_calibration
from clsa_search.retrieval.stored_calibration import StrangerCounter
from clsa_search.retrieval.watch_hits import Hit, compare_people
from clsa_search.retrieval.watch_list import add_person
from clsa_search.structures import ImageDetections

LEVELS = 0.1, 1.0, 10.0
LIST_PEOPLE, IMAGES = 5, 3
ABSENT, PRESENT = 100, 50  # watched people
_DAY, _START = 86_400.0, 1.7e9
_REFERENCE_NOISE = 0.3  # between the images of a watched person


class Realised(NamedTuple):
    """What one gallery reported.

    Args:
        alarms: false alarms per day of a list at each of `LEVELS`.
        found: share of the sightings of watched people that were reported at each.
        days: days from the first calibration on.
    """

    alarms: tuple[float, ...]
    found: tuple[float, ...]
    days: float


def measure(gallery: SyntheticGallery, days: float, hours: float, seed: int) -> Realised:
    """Let a gallery grow, and count the hits of its watch list."""
    rng = np.random.default_rng(seed)
    groups = _group(gallery)
    times = rng.permutation(len(groups)) * days * _DAY / len(groups)
    examples = IMAGES * (ABSENT + PRESENT)
    share = LIST_PEOPLE * IMAGES / examples  # of a list among all watched
    steps = np.ceil((times + 1e-6) / (3600 * hours)).astype(int)
    with tempfile.TemporaryDirectory() as folder:
        with open_store(Path(folder) / "gallery.db", weights="d" * 64, create=True) as store:
            _watch(store, gallery, rng)
            owners: dict[int, int] = {}
            hits: list[Hit] = []
            began = None
            for step in np.unique(steps):
                for row in np.flatnonzero(steps == step)[np.argsort(times[steps == step])]:
                    owners |= _add(store, gallery, groups[row], float(_START + times[row]))
                refresh_calibration(store)
                loaded = StrangerCounter(store).load()
                if loaded.scale is None:
                    continue
                began = began or (step - 1) * hours / 24
                hits += compare_people(
                    store, loaded.count, false_alarms_per_day=max(LEVELS) / share, now=_START
                )
    if began is None:
        raise SystemExit("the gallery has too few pairs to be calibrated")
    length = days - (began if hours < 24 else 0)
    return _count(gallery, hits, owners, share, length)


def _count(
    gallery: SyntheticGallery,
    hits: Sequence[Hit],
    owners: dict[int, int],
    share: float,
    days: float,
) -> Realised:
    alarms, found = [], []
    chosen = gallery.present_people[:PRESENT].tolist()
    theirs = sum(person in set(chosen) for person in owners.values())
    for level in LEVELS:
        passed = [hit for hit in hits if hit.false_alarms_per_day * share <= level]
        absent = sum(hit.person.startswith("absent") for hit in passed)
        right = sum(hit.person == f"present {owners[hit.sighting]}" for hit in passed)
        alarms.append(absent / (ABSENT / LIST_PEOPLE) / days)
        found.append(right / max(theirs, 1))
    return Realised(tuple(alarms), tuple(found), days)


def _watch(store: GalleryStore, gallery: SyntheticGallery, rng: np.random.Generator) -> None:
    """Add the watched people with several images each."""
    people = [(f"absent {i}", gallery.strangers[i]) for i in range(ABSENT)]
    present = zip(gallery.present_people[:PRESENT], gallery.present[:PRESENT], strict=True)
    people += [(f"present {person}", query) for person, query in present]
    for name, query in people:
        noise = normalize(rng.standard_normal((IMAGES - 1, len(query))))
        more = normalize(query + _REFERENCE_NOISE * noise)
        add_person(store, name, np.vstack([query[None], more]).astype(np.float32))


def _add(store: GalleryStore, gallery: SyntheticGallery, rows: np.ndarray, time: float) -> dict:
    """Store the people of one frame as sightings of two detections; return their owners."""
    name, camera = f"{time:.3f}.mp4", gallery.cameras[rows[0]]
    left = 100 * np.arange(len(rows), dtype=np.float32)
    boxes = np.stack([left, left * 0, left + 40, left * 0 + 90], axis=1)
    images = [
        GalleryImage(
            name,
            ImageDetections(boxes, np.full(len(rows), score, np.float32), values[rows]),
            *(frame, time + frame, camera),
        )
        for frame, score, values in ((0, 0.9, gallery.queries), (1, 0.8, gallery.embeddings))
    ]
    ids = store.add(images, [IndexProgress(name, "state", camera=camera, start=time)])
    members = ids.reshape(2, -1).T.tolist()
    tracklets = [
        Tracklet(
            *(first, name, camera, time, time + 1, 0, 1, 2, first, 0.5),
            *(gallery.embeddings[row], 0.9, first),
        )
        for (first, _), row in zip(members, rows.tolist(), strict=True)
    ]
    store.set_tracklets(name, tracklets, members)
    return {first: int(gallery.people[row]) for (first, _), row in zip(members, rows, strict=True)}


def _group(gallery: SyntheticGallery) -> list[np.ndarray]:
    """Return the rows of each frame: those that pairs of certain strangers join."""
    size, (one, other) = len(gallery.people), gallery.pairs.T
    joined = coo_array((np.ones(len(one)), (one, other)), shape=(size, size))
    _, labels = connected_components(joined, directed=False)
    order = labels.argsort(kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def main(argv: Sequence[str] | None = None) -> None:
    """Print a row for each gallery."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", nargs="*", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--days", type=float, default=10)
    parser.add_argument("--hours", type=float, default=24, help="of a step")
    args = parser.parse_args(argv)
    alarms = ", ".join(f"{level:g}" for level in LEVELS)
    print(f"gallery, seed, days: false alarms a day at {alarms}; share found", flush=True)
    for name in args.recipe:
        for seed in range(args.seeds):
            recipe = replace(RECIPES[name], strangers=max(ABSENT, RECIPES[name].strangers))
            one = measure(make_gallery(recipe, seed), args.days, args.hours, seed)
            columns = [", ".join(f"{value:.2f}" for value in row) for row in one[:2]]
            print(f"{name}, {seed}, {one.days:.1f}: {'; '.join(columns)}", flush=True)


if __name__ == "__main__":
    main()
