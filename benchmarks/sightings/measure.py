"""Measure sightings on synthetic walks: python -m benchmarks.sightings.measure --weights FILE.

Boxes are the ground truth with an error of 2 % of their height; embeddings come from the weights.
Prints means over the seeds, smallest and largest in brackets. The limits of linking were chosen on
seeds from 2000; report others.
"""

import argparse
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.sightings.rankings import compare_rankings, make_camera_clip
from benchmarks.sightings.scores import score_links
from benchmarks.sightings.walks import draw_frame, make_cameras, plan_walks, sample_people
from clsa_search.gallery import StoredDetection
from clsa_search.sightings.linking import link
from clsa_search.sightings.pooling import make_tracklets, to_link_input

RATES = (1, 2, 5)
_GRID = 10  # frames a second; all rates are shares of it

Clip = tuple[list[StoredDetection], np.ndarray]  # detections, and the person of each


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table."""
    from tabulate import tabulate

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True)
    parser.add_argument("--people", type=int, default=24)
    parser.add_argument("--seconds", type=int, default=40)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1000, 1001, 1002])
    args = parser.parse_args(argv)
    from clsa_search.retrieval.predictor import PersonSearchPredictor

    predictor = PersonSearchPredictor.load(args.weights, device="cpu")
    worlds = [make_clips(predictor, args.people, args.seconds, seed) for seed in args.seeds]
    rows: list[dict[str, object]] = []
    for rate in RATES:
        found = [measure(clips, rate) for clips in worlds]
        row: dict[str, object] = {"frames a second": rate}
        for name in found[0]:
            values = np.array([one[name] for one in found])
            row[name] = f"{values.mean():.3f} ({values.min():.3f} to {values.max():.3f})"
        rows.append(row)
    print(tabulate(rows, headers="keys", disable_numparse=True))


def make_clips(predictor: object, people: int, seconds: int, seed: int) -> list[Clip]:
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


def measure(clips: Sequence[Clip], rate: int) -> dict[str, float]:
    """Return the scores at a frame rate: means of the clips, and mAP from one to the other."""
    linked, scores = [], []
    for detections, truth in clips:
        rows = [i for i, one in enumerate(detections) if not int(one.frame or 0) * rate % _GRID]
        chosen, owners = [detections[i] for i in rows], truth[rows]
        begin = time.perf_counter()
        labels = link(to_link_input(chosen))
        seconds = time.perf_counter() - begin
        scores.append(score_links(labels, owners) | {"seconds": seconds})
        linked.append(make_camera_clip(chosen, owners, *make_tracklets(chosen, labels)))
    means = {name: float(np.mean([one[name] for one in scores])) for name in scores[0]}
    return means | compare_rankings(linked)


if __name__ == "__main__":
    main()
