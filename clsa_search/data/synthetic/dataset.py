"""Generator of a synthetic person-search dataset in the custom JSON format.

`make_synthetic` writes `<output_dir>/{train,gallery}.json` and their images. Several cameras see
each identity at heights spread evenly on a logarithmic scale, from `min_height` pixels to the full
height of the image. Each image has its own seed, so the number of workers does not change the data.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from clsa_search.data.datasets.json_writer import save_custom_json
from clsa_search.data.synthetic.plan import plan_scenes
from clsa_search.data.synthetic.scene import ScenePlan, draw_scene
from clsa_search.data.synthetic.spec import MIN_POSITIVES, SyntheticSpec
from clsa_search.errors import InputError
from clsa_search.json_files import read_json
from clsa_search.structures import UNLABELED

SPLITS = ("train", "gallery")
VERSION = 5  # of the generator; a dataset of another version is generated again
_MARKER = ".clsa_search_synthetic"
_JPEG_QUALITY = 92


def make_synthetic(
    output_dir: str | os.PathLike, spec: SyntheticSpec, *, workers: int | None = None
) -> bool:
    """Generate a dataset unless the folder already holds it.

    Args:
        output_dir: new or empty folder, or an earlier synthetic dataset to replace.
        spec: parameters of the dataset.
        workers: number of processes; default all cores, 1 generates in this process.

    Returns:
        True if the dataset was generated, False if it was there already.

    Raises:
        InputError: output_dir holds other files, workers is not positive, or an identity is in
            too few images.
    """
    output_dir = Path(output_dir)
    if workers is not None and workers < 1:
        raise InputError(f"synthetic scenes: workers is {workers}; expected 1 or more")
    if is_complete(output_dir, spec):
        return False
    _claim(output_dir)
    with tempfile.TemporaryDirectory(prefix=".generating-", dir=output_dir) as scratch:
        new, old = Path(scratch, "new"), Path(scratch, "old")
        _generate(new, spec, workers or _count_cores())
        old.mkdir()
        # The JSON files mark a complete dataset: the old ones leave first, the new ones come last.
        for name in (*(f"{s}.json" for s in SPLITS), *SPLITS):
            if (output_dir / name).exists():
                os.replace(output_dir / name, old / name)
        for name in (*SPLITS, *(f"{s}.json" for s in SPLITS)):
            os.replace(new / name, output_dir / name)
    return True


def is_complete(output_dir: str | os.PathLike, spec: SyntheticSpec) -> bool:
    """Return whether a folder holds the dataset of a spec with all its images."""
    for split in SPLITS:
        try:
            document = read_json(Path(output_dir, f"{split}.json"))
            if document["info"]["synthetic"] != _describe(spec):
                return False
            names = [image["file_name"] for image in document["images"]]
            present = set(os.listdir(Path(output_dir, split, "images")))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return False
        if not present.issuperset(Path(name).name for name in names):
            return False
    return True


def choose_queries(
    annotations: Sequence[dict[str, Any]], cam_ids: dict[int, int], spec: SyntheticSpec
) -> list[dict[str, Any]]:
    """Choose one query per test identity, in turn among its smallest, middle and largest boxes.

    At least half of the person is visible in a query where the identity has such a box. Another
    camera sees each identity too.

    Args:
        annotations: annotations of the gallery split.
        cam_ids: camera id by image id.
        spec: parameters of the dataset.

    Raises:
        InputError: an identity has too few boxes or only one camera sees it.
    """
    boxes = defaultdict(list)
    for annotation in annotations:
        if annotation["person_id"] != UNLABELED:
            boxes[annotation["person_id"]].append(annotation)
    rng = np.random.default_rng((spec.seed, 3))
    queries = []
    for turn, person_id in enumerate(range(spec.train_ids, spec.train_ids + spec.test_ids)):
        candidates = sorted(boxes[person_id], key=lambda annotation: annotation["bbox"][3])
        cameras = {cam_ids[annotation["image_id"]] for annotation in candidates}
        if len(candidates) <= MIN_POSITIVES or len(cameras) < 2:
            raise InputError(
                f"synthetic scenes: identity {person_id} is in {len(candidates)} images of "
                f"{len(cameras)} cameras; expected {MIN_POSITIVES + 1} images of 2 cameras: lower "
                f"max_people, raise gallery_images or change the seed"
            )
        third = np.array_split(np.arange(len(candidates)), 3)[turn % 3]
        visible = [i for i in third if candidates[i]["visibility"] >= 0.5]
        chosen = candidates[int(rng.choice(visible or third))]
        queries.append({k: chosen[k] for k in ("image_id", "bbox", "person_id")})
    return queries


def _describe(spec: SyntheticSpec) -> dict[str, Any]:
    return {"version": VERSION, **asdict(spec)}


def _count_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _claim(output_dir: Path) -> None:
    """Mark a new or empty folder as generated; refuse a folder with other files."""
    output_dir.mkdir(parents=True, exist_ok=True)
    marker = output_dir / _MARKER
    if not marker.exists() and any(output_dir.iterdir()):
        raise InputError(
            f"{output_dir}: holds files that make_synthetic did not write; expected a new or empty "
            f"folder, or an earlier synthetic dataset"
        )
    marker.write_text("Generated by clsa_search; other parameters replace this dataset.\n")


def _generate(folder: Path, spec: SyntheticSpec, workers: int) -> None:
    plans = {split: plan_scenes(spec, split) for split in SPLITS}
    jobs = [(folder / _file_name(s, p), p) for s in SPLITS for p in plans[s]]
    for split in SPLITS:
        (folder / split / "images").mkdir(parents=True)
    annotations = iter(list(_write_images(jobs, spec, workers)))
    for split in SPLITS:
        _write_split(folder, split, spec, plans[split], [next(annotations) for _ in plans[split]])


def _file_name(split: str, plan: ScenePlan) -> str:
    return f"{split}/images/c{plan.camera.cam_id}_{plan.index:05d}.jpg"


def _write_images(
    jobs: list[tuple[Path, ScenePlan]], spec: SyntheticSpec, workers: int
) -> Iterator[list[dict[str, Any]]]:
    """Write the image of each job and yield its annotations, in order."""
    write = partial(_write_image, spec=spec)
    progress = partial(tqdm, total=len(jobs), desc="generating", unit="image", mininterval=0.5)
    if workers == 1:
        yield from progress(map(write, jobs))
        return
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods else None)
    # Set one thread before the fork: OpenCV hangs in a child of a process whose OpenCV has threads.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with context.Pool(workers) as pool:
            yield from progress(pool.imap(write, jobs, chunksize=4))
    finally:
        cv2.setNumThreads(threads)


def _write_image(job: tuple[Path, ScenePlan], spec: SyntheticSpec) -> list[dict[str, Any]]:
    path, plan = job
    image, annotations = draw_scene(
        plan, width=spec.width, height=spec.height, min_visible=spec.min_visible
    )
    if not cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]):
        raise OSError(f"{path}: could not be written")
    return annotations


def _write_split(
    folder: Path,
    split: str,
    spec: SyntheticSpec,
    plans: list[ScenePlan],
    annotations_per_image: list[list[dict[str, Any]]],
) -> None:
    images = [
        {
            "id": plan.index,
            "file_name": _file_name(split, plan),
            "width": spec.width,
            "height": spec.height,
            "cam_id": plan.camera.cam_id,
        }
        for plan in plans
    ]
    annotations = [
        {"image_id": plan.index, **annotation}
        for plan, group in zip(plans, annotations_per_image, strict=True)
        for annotation in group
    ]
    cam_ids = {plan.index: plan.camera.cam_id for plan in plans}
    queries = choose_queries(annotations, cam_ids, spec) if split == "gallery" else ()
    save_custom_json(
        folder / f"{split}.json",
        images=images,
        annotations=annotations,
        queries=queries,
        info={"description": "synthetic street scenes", "synthetic": _describe(spec)},
    )
