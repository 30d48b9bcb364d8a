"""Person search out of tracked video: MOTChallenge folders become own-data JSON files."""

import shutil
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from clsa_search.data.datasets.custom_json import save_custom_json
from clsa_search.data.datasets.mot_files import Row, Scene, find_scenes, read_people
from clsa_search.data.image_io import read_image_size
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED

SPLITS = ("scene", "identity", "none")


class Person(NamedTuple):
    """A person in an image: box [x, y, width, height] clipped to it, identity over all scenes."""

    image_id: int
    bbox: list[float]
    person_id: int
    visibility: float


def import_mot(
    source: str | Path,
    output_dir: str | Path,
    *,
    split: str = "scene",
    test_scenes: Sequence[str] = (),
    test_fraction: float = 0.3,
    min_visibility: float = 0.3,
    frame_step: int = 1,
    copy: bool = False,
    seed: int = 0,
) -> dict[str, dict[str, int]]:
    """Write `train.json` and `gallery.json` in the own-data format from a folder of scenes.

    A track is an identity, and a scene is a camera; nobody is the same in two scenes. The gallery
    has a query for each of its identities that is labeled in two frames or more: the appearance of
    the highest visibility, of equal ones the largest, then the earliest.

    Args:
        source: folder of the scenes, or of a `train/` with the scenes (see `mot_files`).
        output_dir: where the two files go.
        split: "scene": whole scenes are held out; "identity": both files list all frames and boxes,
            each with its own identities labeled; "none": both hold everything, to see whether a
            model finds what it was fitted to.
        test_scenes: for "scene": the ones to hold out; without, they are drawn at random.
        test_fraction: share of the scenes, or of the identities seen again, to hold out.
        min_visibility: people less visible (1: wholly) keep their box and lose their identity.
        frame_step: take every so many-th frame of a scene, from its first.
        copy: copy the frames to `output_dir/images`. Otherwise the files name them where they are:
            below `output_dir` by a relative path, elsewhere by an absolute one.
        seed: of the random choices.

    Returns:
        For "train" and "gallery", how many images, boxes, labeled boxes, identities and queries.

    Raises:
        InputError: an argument or a file is not as described; names file, line, field and value.
    """
    _check_arguments(split, test_scenes, test_fraction, min_visibility, frame_step)
    scenes, rng = find_scenes(source), np.random.default_rng(seed)
    names = [scene.name for scene in scenes]
    held_scenes, held_identities = set(), set()
    if split == "scene":
        held_scenes = _hold_out_scenes(names, test_scenes, test_fraction, rng)
    images, people = _read_scenes(scenes, Path(output_dir), frame_step, copy)
    people = [_forget(person, person.visibility < min_visibility) for person in people]
    identities = {person.person_id for person in people} - {UNLABELED}
    if split == "identity":
        held_identities = _draw(list(choose_queries(people)), test_fraction, rng)
    train = _select(images, people, set(names) - held_scenes, identities - held_identities)
    gallery = _select(images, people, held_scenes or set(names), held_identities or identities)
    return {
        "train": _write(Path(output_dir) / "train.json", *train, searched=False),
        "gallery": _write(Path(output_dir) / "gallery.json", *gallery, searched=True),
    }


def choose_queries(people: Sequence[Person]) -> dict[int, Person]:
    """For each identity that is seen in two images or more, the appearance to search it by."""
    appearances = defaultdict(list)
    for person in people:
        appearances[person.person_id].append(person)
    return {
        person_id: max(seen, key=lambda p: (p.visibility, p.bbox[2] * p.bbox[3], -p.image_id))
        for person_id, seen in sorted(appearances.items())
        if person_id != UNLABELED and len(seen) > 1
    }


def _check_arguments(
    split: str, test_scenes: Sequence[str], fraction: float, visibility: float, step: int
) -> None:
    if split not in SPLITS:
        raise InputError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
    if test_scenes and split != "scene":
        raise InputError(f"test_scenes are given with split {split!r}; expected split 'scene'")
    if not 0 < fraction < 1:
        raise InputError(f"test_fraction is {fraction}; expected between 0 and 1")
    if not 0 <= visibility <= 1:
        raise InputError(f"min_visibility is {visibility}; expected from 0 to 1")
    if step < 1:
        raise InputError(f"frame_step is {step}; expected 1 or more")


def _hold_out_scenes(
    names: list[str], wanted: Sequence[str], fraction: float, rng: np.random.Generator
) -> set[str]:
    if unknown := set(wanted) - set(names):
        raise InputError(
            f"test scene {min(unknown)!r} is not there; expected some of {', '.join(names)}"
        )
    held_out = set(wanted) or _draw(names, fraction, rng)
    if held_out == set(names):
        raise InputError(f"all {len(names)} scenes are for test; expected some to train on")
    return held_out


def _draw(members: list, fraction: float, rng: np.random.Generator) -> set:
    """A random share of the members, at least one of them."""
    count = max(1, round(fraction * len(members)))
    return {members[i] for i in rng.permutation(len(members))[:count]}


def _read_scenes(
    scenes: Sequence[Scene], output_dir: Path, frame_step: int, copy: bool
) -> tuple[list[dict], list[Person]]:
    """The format's entries of all images, and the people in them; ids run through all scenes."""
    images: list[dict] = []
    people: list[Person] = []
    identities: dict[tuple[str, int], int] = {}
    chosen = [(scene, list(scene.frames)[::frame_step]) for scene in scenes]
    with tqdm(total=sum(len(frames) for _, frames in chosen), unit="frame") as progress:
        for scene, frames in chosen:
            progress.set_description(scene.name)
            rows = defaultdict(list)
            for row in read_people(scene):
                rows[row.frame].append(row)
            for frame in frames:
                images.append(_describe_image(scene, frame, len(images) + 1, output_dir, copy))
                for row in rows[frame]:
                    identity = identities.setdefault((scene.name, row.track), len(identities))
                    people.extend(_place(row, images[-1], identity))
                progress.update()
    return images, people


def _describe_image(scene: Scene, frame: int, image_id: int, output_dir: Path, copy: bool) -> dict:
    path = scene.frames[frame]
    width, height = read_image_size(path)
    if copy:
        target = output_dir / "images" / scene.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path = Path(shutil.copyfile(path, target))
    return {
        "id": image_id,
        "file_name": name_file(path.resolve(), output_dir.resolve()),
        "width": width,
        "height": height,
        "cam_id": scene.number,
        "scene": scene.name,
        "frame": frame,
    }


def name_file(path: PurePath, folder: PurePath) -> str:
    """A file for the JSON in the folder: relative where below it, and as every system reads it."""
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def _place(row: Row, image: dict, person_id: int) -> list[Person]:
    """The person in the image, the box clipped to it; nobody where the box is wholly outside."""
    x, y, width, height = row.box
    x0, x1 = max(x, 0), min(x + width, image["width"])
    y0, y1 = max(y, 0), min(y + height, image["height"])
    if x0 >= x1 or y0 >= y1:
        return []
    return [Person(image["id"], [x0, y0, x1 - x0, y1 - y0], person_id, row.visibility)]


def _forget(person: Person, unknown: bool) -> Person:
    return person._replace(person_id=UNLABELED) if unknown else person


def _select(
    images: Sequence[dict],
    people: Sequence[Person],
    scenes: Collection[str],
    identities: Collection[int],
) -> tuple[list[dict], list[Person]]:
    """Some scenes with some identities; everybody else in them is unlabeled."""
    images = [image for image in images if image["scene"] in scenes]
    shown = {image["id"] for image in images}
    seen = (person for person in people if person.image_id in shown)
    return images, [_forget(person, person.person_id not in identities) for person in seen]


def _write(
    path: Path, images: Sequence[dict], people: Sequence[Person], *, searched: bool
) -> dict[str, int]:
    """Write a split, with queries where it is to be searched, and count what it holds."""
    queries = list(choose_queries(people).values()) if searched else []
    labeled = {person.person_id for person in people} - {UNLABELED}
    if not (queries if searched else labeled):
        need = "in two frames for each query" if searched else "to train on"
        raise InputError(f"{path}: no labeled person {need}; expected more people or frames")
    save_custom_json(
        path,
        images=images,
        annotations=[person._asdict() for person in people],
        queries=[
            {"image_id": q.image_id, "bbox": q.bbox, "person_id": q.person_id} for q in queries
        ],
    )
    return {
        "images": len(images),
        "boxes": len(people),
        "labeled": sum(person.person_id != UNLABELED for person in people),
        "identities": len(labeled),
        "queries": len(queries),
    }
