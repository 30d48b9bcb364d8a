"""Queries for a JSON file that has none."""

import os
from pathlib import Path

import numpy as np

from clsa_search.argument_checks import resolve_path
from clsa_search.data.datasets.custom_json import CustomSplit, find_file_name, parse_split
from clsa_search.data.datasets.foreign_labels import PERSON_ID
from clsa_search.data.datasets.json_reader import read_document
from clsa_search.data.datasets.json_writer import CATEGORY_ID, name_file, save_custom_json
from clsa_search.data.labeled_boxes import LabeledBoxes
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED
from clsa_search.wording import count_noun


def make_queries(
    json_file: str | os.PathLike,
    output_file: str | os.PathLike,
    *,
    image_root: str | os.PathLike | None = None,
    id_field: str = PERSON_ID,
    category: str | None = None,
) -> int:
    """Write a copy of a split with one query for each person who is seen in two images or more.

    The query is the person's largest box inside its image; of several, the first in the file. The
    copy is in the custom JSON format, holds the annotations of persons only, and names the images
    from its own folder.

    Args:
        json_file: file of the split, without queries.
        output_file: file to write.
        image_root: see `load_custom_json`, as the following arguments.
        id_field: field of the identity in annotations.
        category: name or id of the category of persons.

    Returns:
        The number of queries.

    Raises:
        InputError: the file is not in the format, has queries, or shows no person again.
    """
    path, output = Path(json_file), Path(output_file)
    if resolve_path(path) == resolve_path(output):
        raise InputError(f"{output}: is the file to read; expected another file to write")
    document = read_document(path)
    split = parse_split(document, path, id_field=id_field, category=category)
    if count := len(split.columns.queries):
        raise InputError(f"{path}: has {count_noun(count, 'query', 'queries')}; expected none")
    boxes = split.columns.ground_truth
    chosen = choose_largest(boxes)
    if not len(chosen):
        raise InputError(f"{path}: no labeled person in two images; expected one for a query")
    annotations = _label(document["annotations"], split)
    save_custom_json(
        output,
        images=_locate(document["images"], Path(image_root or path.parent), output.parent),
        annotations=annotations,
        queries=[
            {field: annotations[row][field] for field in ("image_id", "bbox", "person_id")}
            for row in chosen.tolist()
        ],
        category=_name_category(document["categories"], split.category),
    )
    return len(chosen)


def choose_largest(boxes: LabeledBoxes) -> np.ndarray:
    """Return the row of the largest box of each person in two images or more, by person id."""
    labeled = np.flatnonzero(boxes.person_ids != UNLABELED)
    person_ids, images = boxes.person_ids[labeled], boxes.images[labeled]
    areas = (boxes.boxes[labeled, 2:] - boxes.boxes[labeled, :2]).prod(axis=1)
    ranked = np.lexsort((-areas, person_ids))  # stable: of equal ones the first comes first
    persons, largest = np.unique(person_ids[ranked], return_index=True)
    pairs = np.unique(np.column_stack([person_ids, images]), axis=0)
    seen_again = np.bincount(np.searchsorted(persons, pairs[:, 0]), minlength=len(persons)) > 1
    return labeled[ranked[largest[seen_again]]]


def _label(entries: list[dict], split: CustomSplit) -> list[dict]:
    """Return the annotations of persons with person ids, and then the crowd regions."""
    category = {"category_id": CATEGORY_ID}
    person_ids = split.columns.ground_truth.person_ids.tolist()
    persons = [
        entries[position] | category | {PERSON_ID: person_id}
        for position, person_id in zip(split.boxes.tolist(), person_ids, strict=True)
    ]
    crowds = [
        entry | category
        for entry in entries
        if entry["category_id"] == split.category and entry.get("iscrowd")
    ]
    return persons + crowds


def _name_category(categories: list[dict], category: int | str) -> str:
    return next(str(one.get("name", "person")) for one in categories if one["id"] == category)


def _locate(images: list[dict], root: Path, folder: Path) -> list[dict]:
    """Return the images with file names that are valid from a folder."""
    located = []
    for image in images:
        path = os.path.abspath(root / find_file_name(root, image["file_name"]))
        name = name_file(Path(path), Path(os.path.abspath(folder)))
        located.append(image | {"file_name": name})
    return located
