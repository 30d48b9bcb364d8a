"""A person-search dataset drawn from nothing: synthetic street scenes in the own-data format.

`make_synthetic` writes `<output_dir>/{train,gallery}.json` and their images. The same identity is
seen from `min_height` pixels to the full height of the picture, its heights spread evenly on a
logarithmic scale, by several cameras. Chance comes from one seeded generator an image, so that the
number of workers changes nothing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from clsa_search.data import save_custom_json
from clsa_search.data.synthetic.plan import FEWEST_TARGETS, SyntheticSpec, plan_scenes
from clsa_search.data.synthetic.scene import ScenePlan, draw_scene
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED

SPLITS = ("train", "gallery")
VERSION = 5  # of the drawing: a dataset of another version is drawn anew
_MARK = ".clsa_search_synthetic"
_QUALITY = 92


def make_synthetic(
    output_dir: str | os.PathLike, spec: SyntheticSpec, *, workers: int | None = None
) -> bool:
    """Draws a dataset, unless output_dir already holds it complete.

    Args:
        output_dir: a new or empty folder, or one that was drawn before and is replaced.
        spec: what to draw.
        workers: processes; all cores by default, 1 draws in this process.

    Returns:
        Whether anything was drawn.

    Raises:
        InputError: output_dir holds something else, workers is not positive, or an identity found
            too few places in the scenes.
    """
    output_dir = Path(output_dir)
    if workers is not None and workers < 1:
        raise InputError(f"synthetic scenes: workers is {workers}; expected 1 or more")
    if is_complete(output_dir, spec):
        return False
    _claim(output_dir)
    with tempfile.TemporaryDirectory(prefix=".drawing-", dir=output_dir) as scratch:
        fresh, old = Path(scratch, "new"), Path(scratch, "old")
        _draw(fresh, spec, workers or _cores())
        old.mkdir()
        # out: what claims completeness first; in: what claims it last
        for name in (*(f"{s}.json" for s in SPLITS), *SPLITS):
            if (output_dir / name).exists():
                os.replace(output_dir / name, old / name)
        for name in (*SPLITS, *(f"{s}.json" for s in SPLITS)):
            os.replace(fresh / name, output_dir / name)
    return True


def is_complete(output_dir: str | os.PathLike, spec: SyntheticSpec) -> bool:
    """Whether a folder holds the dataset of a spec, with all its images."""
    for split in SPLITS:
        try:
            document = json.loads(Path(output_dir, f"{split}.json").read_text(encoding="utf-8"))
            if document["info"]["synthetic"] != _describe(spec):
                return False
            names = [image["file_name"] for image in document["images"]]
            present = set(os.listdir(Path(output_dir, split, "images")))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return False
        if not present.issuperset(Path(name).name for name in names):
            return False
    return True


def _describe(spec: SyntheticSpec) -> dict:
    return {"version": VERSION, **asdict(spec)}


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _claim(output_dir: Path) -> None:
    """Marks a new or empty folder as ours; refuses one that holds something else."""
    output_dir.mkdir(parents=True, exist_ok=True)
    mark = output_dir / _MARK
    if not mark.exists() and any(output_dir.iterdir()):
        raise InputError(
            f"{output_dir}: holds files that make_synthetic did not write; expected a new or empty "
            f"folder, or one that it has drawn before"
        )
    mark.write_text("Drawn by clsa_search; drawn anew, and replaced, for other parameters.\n")


def _draw(folder: Path, spec: SyntheticSpec, workers: int) -> None:
    plans = {split: plan_scenes(spec, split) for split in SPLITS}
    jobs = [(folder / _file_name(s, p), p) for s in SPLITS for p in plans[s]]
    for split in SPLITS:
        (folder / split / "images").mkdir(parents=True)
    people = iter(list(_draw_images(jobs, spec, workers)))
    for split in SPLITS:
        _write_split(folder, split, spec, plans[split], [next(people) for _ in plans[split]])


def _file_name(split: str, plan: ScenePlan) -> str:
    return f"{split}/images/c{plan.camera.cam_id}_{plan.rank:05d}.jpg"


def _draw_images(
    jobs: list[tuple[Path, ScenePlan]], spec: SyntheticSpec, workers: int
) -> Iterator[list[dict]]:
    """The annotations of each job's image, in order, as the images are written."""
    draw = partial(_draw_image, spec=spec)
    progress = partial(tqdm, total=len(jobs), desc="drawing scenes", unit="image", mininterval=0.5)
    if workers == 1:
        yield from progress(map(draw, jobs))
        return
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods else None)
    # One thread each, and that before the fork: in a child of a process whose OpenCV has threads,
    # OpenCV waits for them for ever.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with context.Pool(workers) as pool:
            yield from progress(pool.imap(draw, jobs, chunksize=4))
    finally:
        cv2.setNumThreads(threads)


def _draw_image(job: tuple[Path, ScenePlan], spec: SyntheticSpec) -> list[dict]:
    path, plan = job
    picture, annotations = draw_scene(
        plan, width=spec.width, height=spec.height, min_visible=spec.min_visible
    )
    if not cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]):
        raise OSError(f"{path}: could not be written")
    return annotations


def _write_split(
    folder: Path,
    split: str,
    spec: SyntheticSpec,
    plans: list[ScenePlan],
    people: list[list[dict]],
) -> None:
    images = [
        {
            "id": plan.rank,
            "file_name": _file_name(split, plan),
            "width": spec.width,
            "height": spec.height,
            "cam_id": plan.camera.cam_id,
        }
        for plan in plans
    ]
    annotations = [
        {"image_id": plan.rank, **person}
        for plan, group in zip(plans, people, strict=True)
        for person in group
    ]
    cam_ids = {plan.rank: plan.camera.cam_id for plan in plans}
    queries = choose_queries(annotations, cam_ids, spec) if split == "gallery" else ()
    save_custom_json(
        folder / f"{split}.json",
        images=images,
        annotations=annotations,
        queries=queries,
        info={"description": "synthetic street scenes", "synthetic": _describe(spec)},
    )


def choose_queries(
    annotations: list[dict], cam_ids: dict[int, int], spec: SyntheticSpec
) -> list[dict]:
    """One query an identity, in turn among its smallest, middle and largest sightings.

    A query shows at least half of the figure where the identity has such a sighting, and another
    camera sees the identity too.

    Raises:
        InputError: an identity has too few sightings, or a single camera saw it.
    """
    sightings = defaultdict(list)
    for entry in annotations:
        if entry["person_id"] != UNLABELED:
            sightings[entry["person_id"]].append(entry)
    rng = np.random.default_rng((spec.seed, 3))
    queries = []
    for turn, person_id in enumerate(range(spec.train_ids, spec.train_ids + spec.test_ids)):
        seen = sorted(sightings[person_id], key=lambda entry: entry["bbox"][3])
        cameras = {cam_ids[entry["image_id"]] for entry in seen}
        if len(seen) <= FEWEST_TARGETS or len(cameras) < 2:
            raise InputError(
                f"synthetic scenes: identity {person_id} was drawn {len(seen)} times by "
                f"{len(cameras)} cameras; fewer people in a picture, more gallery images or "
                f"another seed would give it {FEWEST_TARGETS + 1} sightings by 2"
            )
        third = np.array_split(np.arange(len(seen)), 3)[turn % 3]
        clear = [i for i in third if seen[i]["visibility"] >= 0.5]
        chosen = seen[int(rng.choice(clear or third))]
        queries.append({k: chosen[k] for k in ("image_id", "bbox", "person_id")})
    return queries
