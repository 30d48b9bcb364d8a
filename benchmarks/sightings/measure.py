"""Measure sightings on synthetic walks: python -m benchmarks.sightings.measure --weights FILE.

Boxes are the ground truth with an error of 2 % of their height; embeddings come from the weights.
"""

import argparse
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.sightings.scores import average_precision, score_links
from benchmarks.sightings.walks import draw_frame, make_cameras, plan_walks, sample_people
from clsa_search.gallery import StoredDetection
from clsa_search.sightings.linking import link
from clsa_search.sightings.pooling import make_tracklets, to_link_input

RATES = (1, 2, 5)
_GRID = 10  # frames a second; all rates are shares of it


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--people", type=int, default=24)
    parser.add_argument("--seconds", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1000)
    args = parser.parse_args(argv)
    from clsa_search.retrieval.predictor import PersonSearchPredictor

    predictor = PersonSearchPredictor.load(args.weights, device="cpu")
    clips = make_clips(predictor, args.people, args.seconds, args.seed)
    for rate in RATES:
        print(f"{rate} frames a second:", measure(clips, rate), flush=True)


def make_clips(
    predictor: object, people: int, seconds: int, seed: int
) -> list[tuple[list[StoredDetection], np.ndarray]]:
    """Return detections and identities of the same people before two cameras."""
    looks, clips, number = sample_people(people, seed), [], 1
    for index, (camera, background) in enumerate(make_cameras(seed)):
        walks = plan_walks(looks, camera, seconds, seed + index)
        detections: list[StoredDetection] = []
        truth: list[int] = []
        for tick in range(seconds * _GRID):
            if all(tick * rate % _GRID for rate in RATES):
                continue
            image, boxes, ids = draw_frame(walks, camera, background, tick / _GRID)
            if not len(ids):
                continue
            embeddings = predictor.embed(image, boxes)  # type: ignore[attr-defined]
            for box, embedding in zip(boxes.tolist(), embeddings, strict=True):
                place = f"{index}.mp4", tick, tick / _GRID, f"camera {index}"
                detections.append(StoredDetection(number, *place, tuple(box), 0.9, embedding))
                number += 1
            truth += ids.tolist()
        clips.append((detections, np.array(truth)))
    return clips


def measure(
    clips: Sequence[tuple[list[StoredDetection], np.ndarray]], rate: int
) -> dict[str, float]:
    """Return the scores at a frame rate: means of the clips, and mAP from one to the other."""
    sampled = []
    scores: list[dict[str, float]] = []
    for detections, truth in clips:
        rows = [i for i, one in enumerate(detections) if not int(one.frame or 0) * rate % _GRID]
        chosen, owners = [detections[i] for i in rows], truth[rows]
        begin = time.perf_counter()
        labels = link(to_link_input(chosen))
        seconds = time.perf_counter() - begin
        scores.append(score_links(labels, owners) | {"seconds": seconds})
        tracklets, members = make_tracklets(chosen, labels)
        sampled.append((chosen, owners, tracklets, members))
    result = {name: float(np.mean([one[name] for one in scores])) for name in scores[0]}
    result |= _measure_rankings(sampled)
    return {name: round(value, 3) for name, value in result.items()}


def _measure_rankings(sampled: list) -> dict[str, float]:
    """Return mAP and rank 1 of one detection of each person before the other camera."""
    found: dict[str, list[float]] = {}
    for one, other in (sampled, sampled[::-1]):
        chosen, owners, tracklets, members = other
        place = {detection.detection_id: i for i, detection in enumerate(chosen)}
        frames = np.stack([detection.embedding for detection in chosen])
        pooled = np.stack([np.asarray(tracklet.embedding) for tracklet in tracklets])
        parts = [[place[i] for i in ids] for ids in members]
        held = np.array([np.bincount(owners[rows]).argmax() for rows in parts])
        for person in np.intersect1d(one[1], owners):
            rows = np.flatnonzero(one[1] == person)
            query = one[0][rows[len(rows) // 2]].embedding
            by_frame = frames @ query
            best = np.array([np.sort(by_frame[rows])[-3:].mean() for rows in parts])
            if not (held == person).any():
                continue
            for name, similarities, right in (
                ("frames", by_frame, owners == person),
                ("sightings", pooled @ query, held == person),
                ("sightings, 3 best", best, held == person),
            ):
                found.setdefault(f"mAP {name}", []).append(average_precision(similarities, right))
                first = float(right[similarities.argmax()])
                found.setdefault(f"rank 1 {name}", []).append(first)
    return {name: float(np.mean(values)) for name, values in found.items()}


if __name__ == "__main__":
    main()
