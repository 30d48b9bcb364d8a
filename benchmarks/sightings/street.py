"""Measure sightings on frames of the MOTChallenge: python -m benchmarks.sightings.street FOLDER.

Consecutive frames are taken for frames at 1, 2 and 5 a second: people move less than they would,
but linking does not know it and takes everybody within reach of a second for possible. The first
frame of each scene gives the queries, the others are the gallery. Embeddings come from the weights,
or are color histograms of stripes without.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.sightings.rankings import CameraClip, make_camera_clip, rank_visit
from benchmarks.sightings.scores import score_links
from benchmarks.strangers.street_strangers import Sighted, read_people
from clsa_search.data.image_io import read_image
from clsa_search.gallery import StoredDetection
from clsa_search.sightings.linking import link
from clsa_search.sightings.pooling import make_tracklets, to_link_input

RATES = (1, 2, 5)


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table."""
    from tabulate import tabulate

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder of scenes, each with img1 and gt")
    parser.add_argument("--weights", help="default: color histograms")
    args = parser.parse_args(argv)
    people = read_people(args.folder)
    if args.weights:
        people = embed_people(people, args.folder, args.weights)
    rows = [{"frames a second": rate} | measure(people, rate) for rate in RATES]
    print(f"{len(people)} boxes of {len({one.person for one in people})} people")
    print(tabulate(rows, headers="keys", floatfmt=".3f"))


def embed_people(people: Sequence[Sighted], folder: Path, weights: str) -> list[Sighted]:
    """Return people with the embeddings of weights."""
    from clsa_search.retrieval.predictor import PersonSearchPredictor

    predictor = PersonSearchPredictor.load(weights, device="cpu")
    found: list[Sighted] = []
    for scene, frame in dict.fromkeys((one.scene, one.frame) for one in people):
        image = read_image(folder / scene / "img1" / f"{frame:06d}.jpg")
        here = [one for one in people if (one.scene, one.frame) == (scene, frame)]
        embeddings = predictor.embed(image, [one.box for one in here])
        found += [one._replace(embedding=row) for one, row in zip(here, embeddings, strict=True)]
    return found


def measure(people: Sequence[Sighted], rate: int) -> dict[str, float]:
    """Return the scores at a frame rate: means over boxes, and mAP of the first frames."""
    numbers = {name: i for i, name in enumerate(dict.fromkeys(one.person for one in people))}
    clips, scores = [], []
    for scene in dict.fromkeys(one.scene for one in people):
        here = [one for one in people if one.scene == scene]
        rows = [one for one in here if one.frame > 1]
        owners = np.array([numbers[one.person] for one in rows])
        detections = [_store(i + 1, one, rate) for i, one in enumerate(rows)]
        labels = link(to_link_input(detections))
        scores.append((len(rows), score_links(labels, owners)))
        clips.append(make_camera_clip(detections, owners, *make_tracklets(detections, labels)))
    shares = np.array([count for count, _ in scores])
    names = scores[0][1]
    means = {
        name: float(np.average([one[name] for _, one in scores], weights=shares)) for name in names
    }
    gallery = _join(clips)
    present = set(gallery.owners.tolist())
    queries = [one for one in people if one.frame == 1 and numbers[one.person] in present]
    ranks = [rank_visit(one.embedding, numbers[one.person], gallery) for one in queries]
    return means | {
        f"mAP {name}": float(np.mean([one[name] for one in ranks])) for name in ranks[0]
    }


def _store(number: int, one: Sighted, rate: int) -> StoredDetection:
    x0, y0, x1, y1 = one.box
    place = one.scene, one.frame, one.frame / rate, one.scene
    return StoredDetection(number, *place, (x0, y0, x1, y1), 0.9, one.embedding)


def _join(clips: Sequence[CameraClip]) -> CameraClip:
    starts = np.cumsum([0, *(len(one.owners) for one in clips)]).tolist()
    members = [
        rows + start for one, start in zip(clips, starts, strict=False) for rows in one.members
    ]
    columns = zip(
        *((one.embeddings, one.owners, one.pooled, one.holders) for one in clips), strict=True
    )
    embeddings, owners, pooled, holders = map(np.concatenate, columns)
    return CameraClip(embeddings, owners, pooled, members, holders)


if __name__ == "__main__":
    main()
