"""Time and memory of a large gallery: python -m benchmarks.speed.large_gallery FOLDER.

A synthetic gallery is made straight through the store: four people in each frame, ten frames of
each sighting at one frame a second, eight cameras, videos of a thousand detections. Each step runs
in a process of its own. Prints seconds of a CPU, seconds of the clock and the peak memory of each.
"""

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.strangers.synthetic_galleries import normalize
from clsa_search.gallery import Filter, GalleryImage, GalleryStore, IndexProgress, open_store
from clsa_search.structures import ImageDetections

_TOGETHER, _FRAMES, _CAMERAS, _GROUPS = 4, 10, 8, 25  # groups of a video
_START, _VIDEO_SECONDS = 1.7e9, 3600.0
_REPEATS = 20
_LISTED = 100

Result = dict[str, float]  # milliseconds by name


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table."""
    from tabulate import tabulate

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="gets large.db, which is left there")
    parser.add_argument("--sightings", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=256)
    args = parser.parse_args(argv)
    path = args.folder / "large.db"
    rows, times = [], {}
    for name, step in STEPS.items():
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:  # a new process: its peak is that of the step
            *row, found = pool.apply(_run, (step, path, args.sightings, args.width))
        rows.append([name, *row])
        print(*rows[-1], found, flush=True)
        times |= found
    size = path.stat().st_size / 2**20
    print(tabulate(rows, ["step", "CPU s", "s", "peak MiB"], floatfmt=".1f"))
    print(tabulate(times.items(), ["call", "ms"], floatfmt=".1f"))
    print(f"{size:,.0f} MiB on disk")


def _run(
    step: Callable[[Path, int, int], Result], path: Path, sightings: int, width: int
) -> tuple[float, float, float, Result]:
    wall, cpu = time.perf_counter(), time.process_time()
    found = step(path, sightings, width)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return time.process_time() - cpu, time.perf_counter() - wall, peak, found


def make(path: Path, sightings: int, width: int) -> Result:
    """Make the gallery."""
    rng = np.random.default_rng(0)
    people = normalize(rng.standard_normal((max(_TOGETHER, sightings // 4), width)))
    scenes = normalize(rng.standard_normal(width)) * 1.5
    scenes = scenes + normalize(rng.standard_normal((_CAMERAS, width))) * 0.7
    with open_store(path, weights="synthetic", create=True) as store:
        for number in range(-(-sightings // (_GROUPS * _TOGETHER))):
            images = _make_video(number, people.astype(np.float32), scenes[number % _CAMERAS], rng)
            store.add(images, [IndexProgress(images[0].source, "1")])
    return {}


def _make_video(
    number: int, people: np.ndarray, scene: np.ndarray, rng: np.random.Generator
) -> list[GalleryImage]:
    """Return the frames of a video: groups of people, one after the other."""
    lefts = 100.0 * np.arange(_TOGETHER)
    boxes = np.stack([lefts, 0 * lefts, lefts + 50, 0 * lefts + 150], 1).astype(np.float32)
    shape = _TOGETHER, people.shape[1]
    images = []
    for group in range(_GROUPS):
        seen = people[rng.choice(len(people), _TOGETHER, replace=False)] + scene
        seen = seen + 0.5 * normalize(rng.standard_normal(shape))
        for frame in range(2 * _FRAMES * group, 2 * _FRAMES * group + _FRAMES):
            embeddings = normalize(seen + 0.5 * normalize(rng.standard_normal(shape)))
            detections = ImageDetections(
                boxes, np.full(_TOGETHER, 0.9, np.float32), embeddings.astype(np.float32)
            )
            start = _START + number // _CAMERAS * _VIDEO_SECONDS
            place = frame, start + frame, f"camera {number % _CAMERAS}"
            images.append(GalleryImage(f"/footage/{number:05}.mp4", detections, *place))
    return images


def link(path: Path, sightings: int, width: int) -> Result:
    """Link all videos."""
    from clsa_search.sightings.source_links import link_sources

    with open_store(path) as store:
        problems = link_sources(store, store.unlinked())
        assert not problems, problems
        print(f"{store.count_tracklets():,} sightings of {store.count():,} detections", flush=True)
    return {}


def calibrate(path: Path, sightings: int, width: int) -> Result:
    """Calibrate the gallery."""
    from clsa_search.retrieval.gallery_calibration import calibrate_gallery

    with open_store(path) as store:
        calibrate_gallery(store)
    return {}


def search(path: Path, sightings: int, width: int) -> Result:
    """Search with and without expected strangers and a filter; the first search loads."""
    from clsa_search.retrieval.match_judge import MatchJudge
    from clsa_search.retrieval.sighting_search import search_sightings
    from clsa_search.sightings.ranking_tracklets import search_tracklets

    with open_store(path) as store:
        query = store.get([1])[0].embedding
        judge, where = MatchJudge(store), Filter(cameras=["camera 1"])
        return {
            "first search": _time(lambda: search_sightings(store, judge, query, 10), 1),
            **_time_all(
                {
                    "search": lambda: search_tracklets(store, query, 10),
                    "search, expected strangers": lambda: search_sightings(store, judge, query, 10),
                    "camera": lambda: search_tracklets(store, query, 10, where),
                    "camera, expected strangers": lambda: search_sightings(
                        store, judge, query, 10, where
                    ),
                }
            ),
        }


def list_sightings(path: Path, sightings: int, width: int) -> Result:
    """List sightings by time, and the sources."""
    with open_store(path) as store:
        return _time_all(
            {
                f"list {_LISTED} by time": lambda: store.tracklets(None, "time", _LISTED),
                "list sources": store.sources,
                "count a camera": lambda: store.count_tracklets(Filter(cameras=["camera 1"])),
            }
        )


def delete(path: Path, sightings: int, width: int) -> Result:
    """Delete sightings and a video."""
    from clsa_search.retrieval.deletions import DeletionSelector, plan_deletion, run_deletion

    def forget(store: GalleryStore, selector: DeletionSelector) -> None:
        run_deletion(store, plan_deletion(store, selector))

    with open_store(path) as store:
        ids = iter([one.tracklet_id for one in store.tracklets(None, "id", _REPEATS)])
        videos = reversed(store.paths())
        return _time_all(
            {
                "delete a sighting": lambda: forget(store, DeletionSelector(sightings=[next(ids)])),
                "delete a video": lambda: forget(store, DeletionSelector(sources=[next(videos)])),
            },
            _REPEATS // 2,
        )


def _time_all(calls: dict[str, Callable[[], object]], repeats: int = _REPEATS) -> Result:
    """Return the median of each call, taken in turns."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            found[name].append(_time(call, 1))
    return {name: statistics.median(values) for name, values in found.items()}


def _time(call: Callable[[], object], repeats: int) -> float:
    """Return milliseconds of a CPU: other programs share the machine."""
    begin = time.process_time()
    for _ in range(repeats):
        call()
    return 1000 * (time.process_time() - begin) / repeats


STEPS: dict[str, Callable[[Path, int, int], Result]] = {
    "make": make,
    "link": link,
    "calibrate": calibrate,
    "search": search,
    "list": list_sightings,
    "delete": delete,
}


if __name__ == "__main__":
    main()
