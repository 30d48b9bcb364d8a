"""Readers beside writers of one gallery: every answer is checked.

python -m benchmarks.speed.concurrency [ADDRESS] [--readers 8] [--writers 2] [--seconds 60]

Each embedding follows from the name of its file, its frame and its row, so a reader knows what any
answer has to be. Writers add files, link them and delete older ones of theirs; some files stay.
ADDRESS is a new file, or http://HOST:19530/NAME of Milvus.

Shape letters: D embedding width.
"""

import argparse
import multiprocessing
import tempfile
import time
import zlib
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, GalleryImage, GalleryStore, IndexProgress, open_store
from clsa_search.retrieval.match_judge import MatchJudge
from clsa_search.retrieval.sighting_search import search_sightings
from clsa_search.sightings.source_links import link_source
from clsa_search.structures import ImageDetections

WIDTH, FRAMES, PEOPLE = 64, 5, 4
PER_SOURCE = FRAMES * PEOPLE
_WEIGHTS = "c" * 64
_K = 20
_KEPT_OF_WRITER = 8  # files of a writer before it deletes the oldest


@dataclass
class Outcome:
    """What a process did.

    Args:
        counts: number of answers and changes by kind.
        faults: errors and wrong answers, in words.
        seconds: times of the answers.
    """

    counts: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def embed(source: str, frame: int, row: int) -> np.ndarray:
    """Return the embedding (D,) of a detection; a person of a file changes little."""
    person = _direction(f"{source}/{row}")
    values = person + 0.3 * _direction(f"{source}/{frame}/{row}")
    return (values / np.linalg.norm(values)).astype(np.float32)


def make_source(name: str, camera: str, start: float) -> list[GalleryImage]:
    """Return the detections of a video with people who stand apart."""
    images = []
    for frame in range(FRAMES):
        rows = np.array([embed(name, frame, row) for row in range(PEOPLE)])
        left = 100 * np.arange(PEOPLE, dtype=np.float32)
        boxes = np.stack([left, left * 0, left + 40, left * 0 + 90], axis=1)
        scores = np.full(PEOPLE, 0.9, np.float32)
        detections = ImageDetections(boxes, scores, rows)
        images.append(GalleryImage(name, detections, frame, start + frame, camera))
    return images


def add_source(store: GalleryStore, name: str, number: int) -> None:
    """Store and link a video."""
    images = make_source(name, f"camera {number % 4}", 1.7e9 + 60.0 * number)
    progress = IndexProgress(name, "state", camera=images[0].camera, start=images[0].time)
    store.add(images, [progress])
    link_source(store, name)


def write(address: str, number: int, seconds: float, results: "Queue[Outcome]") -> None:
    """Add, link and delete files for some time."""
    outcome, names, count = Outcome(), deque[str](), 0
    end = time.monotonic() + seconds
    try:
        with open_store(address, weights=_WEIGHTS) as store:
            while time.monotonic() < end:
                name = f"writer_{number}_{count}.mp4"
                add_source(store, name, 1000 * (number + 1) + count)
                outcome.counts["files added"] += 1
                names.append(name)
                count += 1
                if len(names) > _KEPT_OF_WRITER:
                    deleted = store.delete(names.popleft())
                    outcome.counts["files deleted"] += 1
                    if deleted != PER_SOURCE:
                        outcome.faults.append(f"deleted {deleted} of {PER_SOURCE} detections")
    except Exception as error:
        outcome.faults.append(f"writer: {error!r}")
    results.put(outcome)


def read(
    address: str, number: int, kept: Sequence[str], seconds: float, results: "Queue[Outcome]"
) -> None:
    """Search for some time, and check every answer."""
    rng, outcome = np.random.default_rng(number), Outcome()
    end = time.monotonic() + seconds
    kept_rows = np.array(
        [embed(name, frame, row) for name in kept for frame in range(FRAMES) for row in range(4)]
    )
    try:
        with open_store(address) as store:
            judge = MatchJudge(store)
            is_exact = "://" not in address  # one state of the gallery can be read
            while time.monotonic() < end:
                name = kept[rng.integers(len(kept))]
                query = embed(name, int(rng.integers(FRAMES)), int(rng.integers(PEOPLE)))
                started = time.perf_counter()
                matches = store.search(query[None], _K)[0]
                found, _ = search_sightings(store, judge, query, _K)
                outcome.seconds.append((time.perf_counter() - started) / 2)
                outcome.counts["searches"] += 2
                check_detections(matches, query, kept_rows, outcome)
                check_sightings(found, query, name, outcome)
                if is_exact:
                    check_state(store, query, outcome)
    except Exception as error:
        outcome.faults.append(f"reader: {error!r}")
    results.put(outcome)


def check_detections(
    matches: Sequence, query: np.ndarray, kept_rows: np.ndarray, outcome: Outcome
) -> None:
    """Check the matches of a search for detections."""
    values = [one.similarity for one in matches]
    if len(values) != _K or values != sorted(values, reverse=True):
        outcome.faults.append(f"{len(values)} matches, or not in order")
    if len({one.detection.detection_id for one in matches}) != len(matches):
        outcome.faults.append("a detection twice")
    for one in matches:
        expected = _find_embedding(one.detection)
        if not np.allclose(one.detection.embedding, expected, atol=1e-6):
            outcome.faults.append(f"{one.detection.source}: another embedding")
        if abs(float(query @ expected) - one.similarity) > 1e-4:
            outcome.faults.append(f"{one.detection.source}: another similarity")
    better = int((kept_rows @ query > min(values, default=1) + 1e-4).sum())
    shown = sum(one.detection.source.startswith("kept") for one in matches)
    if shown < better:
        outcome.faults.append(f"{better - shown} better detections are missing")


def check_sightings(matches: Sequence, query: np.ndarray, name: str, outcome: Outcome) -> None:
    """Check the matches of a search for sightings."""
    for one in matches:
        if one.tracklet is None or one.tracklet.source != one.detection.source:
            outcome.faults.append("a sighting with a detection of another file")
        elif not np.allclose(one.detection.embedding, _find_embedding(one.detection), atol=1e-6):
            outcome.faults.append(f"{one.detection.source}: another embedding of a sighting")
    if not matches or matches[0].detection.source != name:
        outcome.faults.append(f"{name}: is not the best sighting of its person")


def check_state(store: GalleryStore, query: np.ndarray, outcome: Outcome) -> None:
    """Check that one state of the gallery is whole, and that its search is exact."""
    with store.snapshot():
        rows = store.list()
        sightings, matches = store.tracklets(), store.search(query[None], _K)[0]
        whole = store.count()
    outcome.counts["whole states"] += 1
    by_source = Counter(one.source for one in rows)
    if set(by_source.values()) != {PER_SOURCE} or whole != len(rows):
        outcome.faults.append("a file that is not whole")
    if sum(one.detections for one in sightings) != len(rows):
        outcome.faults.append("detections without a sighting")
    similarities = np.array([one.embedding for one in rows]) @ query
    best = np.sort(similarities)[::-1][:_K]
    if not np.allclose(best, [one.similarity for one in matches], atol=1e-4):
        outcome.faults.append("the search differs from sorting all detections")


def run(address: str, readers: int, writers: int, seconds: float, files: int = 50) -> list[Outcome]:
    """Let processes read and write; return what each did, readers first.

    Args:
        address: address of a new gallery.
        readers: number of reading processes.
        writers: number of writing processes.
        seconds: length of the test.
        files: number of files that stay.
    """
    kept = [f"kept_{number}.mp4" for number in range(files)]
    with open_store(address, weights=_WEIGHTS, create=True) as store:
        for number, name in enumerate(kept):
            add_source(store, name, number)
    context = multiprocessing.get_context("spawn")
    queues = [context.Queue() for _ in range(readers + writers)]
    jobs = [(read, (address, i, kept, seconds, queues[i])) for i in range(readers)]
    jobs += [(write, (address, i, seconds, queues[readers + i])) for i in range(writers)]
    processes = [context.Process(target=target, args=args) for target, args in jobs]
    for one in processes:
        one.start()
    outcomes = [one.get(timeout=seconds + 120) for one in queues]
    for one in processes:
        one.join()
    check_end(address, kept, outcomes)
    return outcomes


def check_end(address: str, kept: Sequence[str], outcomes: list[Outcome]) -> None:
    """Check the gallery in a new connection, after all processes."""
    added = sum(one.counts["files added"] - one.counts["files deleted"] for one in outcomes)
    with open_store(address) as store:
        sources = store.sources()
        if len(sources) != len(kept) + added or any(not one.is_linked for one in sources):
            outcomes[0].faults.append(f"{len(sources)} files at the end")
        if store.count() != PER_SOURCE * len(sources):
            outcomes[0].faults.append(f"{store.count()} detections at the end")
        for name in kept:
            if len(store.list(Filter(sources=[name]))) != PER_SOURCE:
                outcomes[0].faults.append(f"{name}: is not whole at the end")


def _find_embedding(detection: object) -> np.ndarray:
    box = detection.box  # type: ignore[attr-defined]
    return embed(detection.source, detection.frame, round(box[0] / 100))  # type: ignore[attr-defined]


def _direction(text: str) -> np.ndarray:
    values = np.random.default_rng(zlib.crc32(text.encode())).standard_normal(WIDTH)
    return values / np.linalg.norm(values)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the counts, the times and the faults."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("address", nargs="?", help="default: a temporary file")
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--writers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--files", type=int, default=50, help="that stay, of 20 detections each")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        address = args.address or str(Path(folder) / "gallery.db")
        outcomes = run(address, args.readers, args.writers, args.seconds, args.files)
    totals: Counter = sum((one.counts for one in outcomes), Counter())
    times = np.concatenate([one.seconds for one in outcomes if one.seconds])
    faults = Counter(fault for one in outcomes for fault in one.faults)
    print(", ".join(f"{count:,} {name}" for name, count in totals.items()))
    middle, late = 1000 * np.quantile(times, [0.5, 0.99])
    print(f"a search: median {middle:.0f} ms, 99 % below {late:.0f} ms")
    print(f"{sum(faults.values()):,} faults")
    for fault, count in faults.most_common(20):
        print(f"{count:,} x {fault}")
    if faults:
        raise InputError("answers were wrong, see above")


if __name__ == "__main__":
    main()
