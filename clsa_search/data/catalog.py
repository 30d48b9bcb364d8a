"""Datasets by name: built-in names, names registered by the user, and paths of custom JSON files.

All datasets are in Detectron2's DatasetCatalog. Their MetadataCatalog entries hold `evaluator_type`
and `thing_classes`, and for custom JSON files `json_file` and `image_root`. Importing this module
registers the built-in names and reads no file.

A dataset registered elsewhere can have fixed galleries too. Its MetadataCatalog entry then holds
`galleries`, a dict from protocol to a function that returns a Gallery (or a function that returns
such a dict), and optionally `default_protocols`, a sequence of protocols.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from clsa_search.argument_checks import check_path, check_type
from clsa_search.data.builtin import PUBLISHED_SPLITS, SYNTHETIC_SPLITS
from clsa_search.data.dataset_files import dataset_path, existing_dataset_path
from clsa_search.data.datasets.custom_json import load_custom_galleries, load_custom_json
from clsa_search.data.datasets.foreign_labels import PERSON_ID
from clsa_search.data.galleries import ALL, CROSS_CAMERA, FULL_PROTOCOLS, Gallery
from clsa_search.data.reid_crops import REID, cut_records, reid_gallery
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED

CROPS = "crops:"
"""Start of the name of a dataset of crops: "crops:prw_train", "crops:my/train.json"."""


def register_custom_json(
    name: str,
    json_file: str | os.PathLike,
    image_root: str | os.PathLike | None = None,
    *,
    id_field: str = PERSON_ID,
    category: str | None = None,
) -> None:
    """Register a custom JSON file under a name; the file is read later.

    Args:
        name: new name of the dataset.
        json_file: the file; a relative path is relative to the working directory at reading time.
        image_root: folder of the images; by default the folder of `json_file`.
        id_field: field of the identity in annotations, such as "attributes.track_id" (CVAT).
        category: name or id of the category of persons; None if the file has only one category.

    Raises:
        InputError: an argument is of another type or empty; the name belongs to another file, or
            to the file read in another way. The path of the file is no such name: the last call
            counts.
    """
    check_type("name", name, str, "a text")
    if not name:
        raise InputError("name: is empty; expected a name for the dataset")
    json_file = check_path("json_file", json_file)
    if image_root is not None:
        check_path("image_root", image_root)
    fields: dict[str, Any] = {
        "json_file": json_file,
        "image_root": str(image_root or Path(json_file).parent),
        "id_field": id_field,
        "category": category,
    }
    metadata = MetadataCatalog.get(name)
    known = {field: metadata.get(field) for field in fields}
    if name == json_file and name in DatasetCatalog.list() and known != fields:
        DatasetCatalog.remove(name)  # the path of a file can mean no other file
    if name not in DatasetCatalog.list():
        DatasetCatalog.register(name, partial(load_custom_json, **fields, dataset_name=name))
        _set_metadata(name, **fields)
    elif known != fields:
        raise InputError(
            f"Dataset name {name!r} is taken (file {known['json_file']}, images in "
            f"{known['image_root']}, identities in {known['id_field']}, category "
            f"{known['category']}); expected a new name for {json_file}"
        )


def resolve_dataset(name: str) -> str:
    """Return the name of a dataset after making sure that Detectron2's catalogs know it.

    Args:
        name: a registered name, or the path of a custom JSON file, ending in `.json`; such a file
            is registered under its path. "crops:" before either names the crops of its people.

    Raises:
        InputError: the name is unknown or of another task; the message lists the known names.
    """
    if name.startswith(CROPS):
        _register_crops(name, resolve_dataset(name.removeprefix(CROPS)))
    elif name in SYNTHETIC_SPLITS:
        json_file = dataset_path(SYNTHETIC_SPLITS[name])
        _set_metadata(name, json_file=str(json_file), image_root=str(json_file.parent))
    elif name not in DatasetCatalog.list():
        if not name.endswith(".json"):
            raise InputError(f"Unknown dataset {name!r}; {_describe_names()}")
        register_custom_json(name, name)
    elif MetadataCatalog.get(name).get("evaluator_type", "person_search") != "person_search":
        raise InputError(f"Dataset {name!r} is not for person search; {_describe_names()}")
    return name


def _register_crops(name: str, scenes: str) -> None:
    if name not in DatasetCatalog.list():
        DatasetCatalog.register(name, lambda: cut_records(get_records(scenes)))
        MetadataCatalog.get(name).set(
            evaluator_type="person_search",
            thing_classes=["person"],
            galleries={REID: lambda: reid_gallery(get_records(name))},
            default_protocols=(REID,),
        )


def _describe_names() -> str:
    names = ", ".join(list_datasets())
    return f"expected one of {names}, or the path of a custom JSON file, ending in .json"


def list_datasets() -> list[str]:
    """Return the sorted names of all person-search datasets, without Detectron2's datasets."""
    return sorted(
        name
        for name in DatasetCatalog.list()
        if MetadataCatalog.get(name).get("evaluator_type") == "person_search"
    )


def get_records(name: str) -> list[dict]:
    """Read the records of a dataset (see `load_custom_json`).

    Raises:
        InputError: the name is unknown, the dataset is not there, or a file is not in the format.
    """
    return DatasetCatalog.get(resolve_dataset(name))


def list_protocols(name: str) -> tuple[str, ...]:
    """Return the protocols of a dataset: its fixed galleries, "all" and "cross_camera".

    "all" searches every image except the query's own. "cross_camera" searches the images of other
    cameras, and needs a known camera for every image.
    """
    records = get_records(name)
    cameras = bool(records) and all("cam_id" in record for record in records)
    return (*list_galleries(name), ALL, *([CROSS_CAMERA] if cameras else []))


def list_galleries(name: str) -> tuple[str, ...]:
    """Return the names of the fixed galleries of a dataset."""
    return tuple(_galleries(name))


def default_protocols(name: str) -> tuple[str, ...]:
    """Return the protocols of an evaluation by default: fixed galleries if any, else "all"."""
    defaults = MetadataCatalog.get(resolve_dataset(name)).get("default_protocols")
    return tuple(defaults or _galleries(name) or (ALL,))


def load_gallery(name: str, protocol: str) -> Gallery:
    """Load a fixed gallery of a dataset.

    Args:
        name: name of the dataset.
        protocol: name of the gallery; "all" and "cross_camera" follow from the records instead.

    Raises:
        InputError: the dataset has no such gallery; the message lists its galleries.
    """
    galleries = _galleries(name)
    if protocol not in galleries:
        raise InputError(
            f"{name}: no gallery {protocol!r}; expected one of {', '.join(galleries) or 'none'}, "
            f"or {' or '.join(FULL_PROTOCOLS)}, which need no gallery"
        )
    return galleries[protocol]()


def load_training_records(names: Sequence[str]) -> list[dict]:
    """Join the records of several training sets.

    Identities of different sets stay different: the person ids of each set are shifted behind the
    ids of the sets before, so that all are contiguous from 0.

    Raises:
        InputError: a set is named twice, and its identities would count twice.
    """
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise InputError(f"DATASETS.TRAIN names {', '.join(twice)} twice; expected each set once")
    joined: list[dict] = []
    identities = 0
    for name in names:
        records = get_records(name)
        joined.extend(_shift_identities(record, identities) for record in records)
        identities += count_identities(records)
    return joined


def count_identities(records: Sequence[dict]) -> int:
    """Return the number of identities: the highest person id of boxes and queries, plus 1."""
    return 1 + max(
        (
            box["person_id"]
            for record in records
            for box in record["annotations"] + record.get("queries", [])
        ),
        default=UNLABELED,
    )


def _shift_identities(record: dict, offset: int) -> dict:
    """Return a copy of a record with `offset` added to all known person ids."""
    shifted = dict(record)
    for field in shifted.keys() & {"annotations", "queries"}:
        shifted[field] = [
            box | {"person_id": box["person_id"] + offset} if box["person_id"] != UNLABELED else box
            for box in record[field]
        ]
    return shifted


def _galleries(name: str) -> dict[str, Callable[[], Gallery]]:
    galleries = MetadataCatalog.get(resolve_dataset(name)).get("galleries", {})
    return galleries() if callable(galleries) else galleries


def _set_metadata(name: str, *, json_file: str, **fields: Any) -> None:
    # not with Metadata.set: it refuses a second value, and $DETECTRON2_DATASETS may change
    vars(MetadataCatalog.get(name)).update(
        json_file=json_file,
        **fields,
        galleries=partial(load_custom_galleries, json_file),
        evaluator_type="person_search",
        thing_classes=["person"],
    )


def _load_synthetic(name: str) -> list[dict]:
    path = existing_dataset_path(name, SYNTHETIC_SPLITS[name])
    return load_custom_json(path, dataset_name=name)


def _load_published(name: str) -> list[dict]:
    split = PUBLISHED_SPLITS[name]
    return split.load(existing_dataset_path(name, split.folder))


def _load_published_gallery(name: str, protocol: str) -> Gallery:
    split = PUBLISHED_SPLITS[name]
    return split.galleries[protocol](existing_dataset_path(name, split.folder))


def _register_built_in() -> None:
    for name in SYNTHETIC_SPLITS:
        DatasetCatalog.register(name, partial(_load_synthetic, name))
        MetadataCatalog.get(name).set(evaluator_type="person_search", thing_classes=["person"])
    for name, split in PUBLISHED_SPLITS.items():
        DatasetCatalog.register(name, partial(_load_published, name))
        MetadataCatalog.get(name).set(
            evaluator_type="person_search",
            thing_classes=["person"],
            galleries={
                protocol: partial(_load_published_gallery, name, protocol)
                for protocol in split.galleries
            },
            default_protocols=split.default_protocols,
        )


_register_built_in()
