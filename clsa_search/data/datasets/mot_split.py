"""Training and gallery splits of tracked video: held-out sequences or identities, and queries.

Images and annotations are entries of the custom JSON format. Images have the further field
`sequence`, annotations the further field `visibility`.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np

from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED

SPLITS = ("sequence", "identity", "none")
"""What is held out for the gallery."""


def hold_out_sequences(
    names: list[str], wanted: Sequence[str], fraction: float, rng: np.random.Generator
) -> set[str]:
    """Return the sequences for the gallery.

    Args:
        names: all sequences.
        wanted: sequences to hold out; if empty, they are chosen at random.
        fraction: share to choose.
        rng: generator of the choice.

    Raises:
        InputError: a wanted sequence does not exist, or no sequence is left for training.
    """
    if unknown := set(wanted) - set(names):
        raise InputError(
            f"test sequence {min(unknown)!r} is not there; expected some of {', '.join(names)}"
        )
    held_out = set(wanted) or choose_share(names, fraction, rng)
    if held_out == set(names):
        raise InputError(
            f"no sequence is left to train on: {', '.join(names)} are for test; expected fewer"
            if len(names) > 1
            else f"{names[0]} is the only sequence; expected more, or another split than 'sequence'"
        )
    return held_out


def choose_share(members: list, fraction: float, rng: np.random.Generator) -> set:
    """Choose a share of the members at random, at least one of them."""
    count = max(1, round(fraction * len(members)))
    return {members[i] for i in rng.permutation(len(members))[:count]}


def choose_queries(annotations: Sequence[dict]) -> dict[int, dict]:
    """Return the query of each identity labeled in two images or more.

    The query is the annotation with the highest visibility; of several, the largest; of several,
    the earliest.
    """
    by_identity = defaultdict(list)
    for annotation in annotations:
        by_identity[annotation["person_id"]].append(annotation)
    return {
        person_id: max(
            group, key=lambda a: (a["visibility"], a["bbox"][2] * a["bbox"][3], -a["image_id"])
        )
        for person_id, group in sorted(by_identity.items())
        if person_id != UNLABELED and len(group) > 1
    }


def select(
    images: Sequence[dict],
    annotations: Sequence[dict],
    sequences: Collection[str],
    identities: Collection[int],
) -> tuple[list[dict], list[dict]]:
    """Return some sequences with some identities; all others become unlabeled."""
    images = [image for image in images if image["sequence"] in sequences]
    image_ids = {image["id"] for image in images}
    return images, [
        annotation if annotation["person_id"] in identities else unlabel(annotation)
        for annotation in annotations
        if annotation["image_id"] in image_ids
    ]


def unlabel(annotation: dict) -> dict:
    """Return an annotation without its identity."""
    return annotation | {"person_id": UNLABELED}
