"""Person search from tracked video: convert MOTChallenge folders to custom JSON files."""

import math
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clsa_search.data.datasets.json_writer import name_file, save_custom_json
from clsa_search.data.datasets.mot_files import (
    MOTSequence,
    TrackedBox,
    find_sequences,
    read_ground_truth,
)
from clsa_search.data.datasets.mot_split import (
    SPLITS,
    choose_queries,
    choose_share,
    hold_out_sequences,
    select,
    unlabel,
)
from clsa_search.data.image_io import read_image_size
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED


def import_mot(
    source: str | Path,
    output_dir: str | Path,
    *,
    split: str = "sequence",
    test_sequences: Sequence[str] = (),
    test_fraction: float = 0.3,
    min_visibility: float = 0.3,
    label: str | None = None,
    frame_step: int = 1,
    frame_rate: float | None = None,
    copy: bool = False,
    seed: int = 0,
) -> dict[str, dict[str, int]]:
    """Write `train.json` and `gallery.json` in the custom JSON format from a folder of sequences.

    A track becomes an identity and a sequence a camera; an identity never spans two sequences. The
    gallery has a query for each of its identities labeled in two frames or more: the box with the
    highest visibility; of several, the largest; of several, the earliest.

    Args:
        source: folder of the sequences, or of a `train/` with the sequences (see `mot_files`).
        output_dir: folder of the two files.
        split: "sequence": whole sequences are held out for the gallery. "identity": both files have
            all frames and boxes, and each labels its own identities. "none": both files are the
            same, to see whether a model fits its training data.
        test_sequences: sequences to hold out; if empty, they are chosen at random.
        test_fraction: share of the sequences, or of the identities with a query, to hold out.
        min_visibility: less visible boxes become unlabeled; from 0 to 1, all visible.
        label: name of the class of persons in gt/labels.txt (see `read_ground_truth`).
        frame_step: step between the frames to take; 1 takes all.
        frame_rate: frames per second, for the field `time` of the images, in seconds; by default
            that of seqinfo.ini, and no time without it.
        copy: whether to copy the frames to `output_dir/images`. Otherwise the files name the
            original frames: by a relative path below `output_dir`, elsewhere by an absolute path.
        seed: seed of the random choices.

    Returns:
        For "train" and "gallery", the number of images, boxes, labeled boxes, identities, queries.

    Raises:
        InputError: an argument or a file is not as described; the message names file, line, field
            and value.
    """
    _check_arguments(split, test_sequences, test_fraction, min_visibility, frame_step, seed)
    if frame_rate is not None and not 0 < frame_rate < math.inf:
        raise InputError(f"frame_rate is {frame_rate}; expected frames per second, above 0")
    sequences, rng = find_sequences(source), np.random.default_rng(seed)
    names = {sequence.name for sequence in sequences}
    gallery_names: set[str] = set()
    gallery_ids: set[int] = set()
    if split == "sequence":
        gallery_names = hold_out_sequences(
            [sequence.name for sequence in sequences], test_sequences, test_fraction, rng
        )
    if frame_rate is not None:
        sequences = [sequence._replace(frame_rate=frame_rate) for sequence in sequences]
    images, annotations = _read_sequences(sequences, Path(output_dir), label, frame_step, copy)
    annotations = [unlabel(a) if a["visibility"] < min_visibility else a for a in annotations]
    identities = {annotation["person_id"] for annotation in annotations} - {UNLABELED}
    if split == "identity":
        gallery_ids = choose_share(list(choose_queries(annotations)), test_fraction, rng)
    train = select(images, annotations, names - gallery_names, identities - gallery_ids)
    gallery = select(images, annotations, gallery_names or names, gallery_ids or identities)
    return {
        "train": _write(Path(output_dir) / "train.json", *train, with_queries=False),
        "gallery": _write(Path(output_dir) / "gallery.json", *gallery, with_queries=True),
    }


def _check_arguments(
    split: str,
    test_sequences: Sequence[str],
    fraction: float,
    visibility: float,
    step: int,
    seed: int,
) -> None:
    if split not in SPLITS:
        raise InputError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
    if test_sequences and split != "sequence":
        raise InputError(f"test_sequences are given with split {split!r}; expected 'sequence'")
    if not 0 < fraction < 1:
        raise InputError(f"test_fraction is {fraction}; expected between 0 and 1")
    if not 0 <= visibility <= 1:
        raise InputError(f"min_visibility is {visibility}; expected from 0 to 1")
    if step < 1:
        raise InputError(f"frame_step is {step}; expected 1 or more")
    if seed < 0:
        raise InputError(f"seed is {seed}; expected 0 or more")


def _read_sequences(
    sequences: Sequence[MOTSequence],
    output_dir: Path,
    label: str | None,
    frame_step: int,
    copy: bool,
) -> tuple[list[dict], list[dict]]:
    """Return the images and annotations of all sequences, in the custom JSON format."""
    from tqdm import tqdm  # slow to import

    images: list[dict] = []
    annotations: list[dict] = []
    person_ids: dict[tuple[str, int], int] = {}
    chosen = [(sequence, list(sequence.frames)[::frame_step]) for sequence in sequences]
    with tqdm(total=sum(len(frames) for _, frames in chosen), unit="frame") as progress:
        for sequence, frames in chosen:
            progress.set_description(sequence.name)
            by_frame = defaultdict(list)
            for box in read_ground_truth(sequence, label):
                by_frame[box.frame].append(box)
            for frame in frames:
                image = _make_image(sequence, frame, len(images) + 1, output_dir, copy)
                images.append(image)
                for box in by_frame[frame]:
                    person_id = person_ids.setdefault((sequence.name, box.track), len(person_ids))
                    annotations.extend(_annotate(box, image, person_id))
                progress.update()
    return images, annotations


def _make_image(
    sequence: MOTSequence, frame: int, image_id: int, output_dir: Path, copy: bool
) -> dict:
    path = sequence.frames[frame]
    width, height = read_image_size(path)
    if copy:
        target = output_dir / "images" / sequence.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path = Path(shutil.copyfile(path, target))
    image = {
        "id": image_id,
        "file_name": name_file(path.resolve(), output_dir.resolve()),
        "width": width,
        "height": height,
        "cam_id": sequence.number,
        "sequence": sequence.name,
        "frame": frame,
    }
    if sequence.frame_rate is not None:
        image["time"] = (frame - min(sequence.frames)) / sequence.frame_rate
    return image


def _annotate(box: TrackedBox, image: dict, person_id: int) -> list[dict]:
    """Return the annotation of a box, clipped to its image; none if it is wholly outside."""
    x, y, width, height = box.box
    x0, x1 = max(x, 0), min(x + width, image["width"])
    y0, y1 = max(y, 0), min(y + height, image["height"])
    if x0 >= x1 or y0 >= y1:
        return []
    bbox = [x0, y0, x1 - x0, y1 - y0]
    fields = {"image_id": image["id"], "bbox": bbox, "person_id": person_id}
    return [fields | {"visibility": box.visibility}]


def _write(
    path: Path, images: Sequence[dict], annotations: Sequence[dict], *, with_queries: bool
) -> dict[str, int]:
    """Write a split and return the numbers of what it holds."""
    queries = list(choose_queries(annotations).values()) if with_queries else []
    labeled = [a["person_id"] for a in annotations if a["person_id"] != UNLABELED]
    if not (queries if with_queries else labeled):
        need = "in two frames for a query" if with_queries else "to train on"
        raise InputError(f"{path}: no labeled person {need}; expected more boxes or frames")
    query_fields = ("image_id", "bbox", "person_id")
    save_custom_json(
        path,
        images=images,
        annotations=annotations,
        queries=[{field: query[field] for field in query_fields} for query in queries],
    )
    return {
        "images": len(images),
        "boxes": len(annotations),
        "labeled": len(labeled),
        "identities": len(set(labeled)),
        "queries": len(queries),
    }
