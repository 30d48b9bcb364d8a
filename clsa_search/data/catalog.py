"""Names of datasets: the built-in ones, the user's, and own-data files called by their path.

All of them live in Detectron2's DatasetCatalog, with `json_file`, `image_root`, `evaluator_type`
and `thing_classes` in MetadataCatalog. Importing this module registers names and reads nothing.

A dataset registered elsewhere may have fixed galleries too: `galleries` in its MetadataCatalog,
{protocol: function that returns a Gallery}, or a function that returns such a dict where the names
stand in a file; and `default_protocols`, names of protocols.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from clsa_search.data.builtin import BENCHMARKS
from clsa_search.data.datasets.custom_json import load_custom_galleries, load_custom_json
from clsa_search.data.galleries import ALL, CROSS_CAMERA, FULL_PROTOCOLS, Gallery
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED

# name: file below $DETECTRON2_DATASETS; the published datasets are in `benchmarks`
BUILT_IN_DATASETS = {
    "synthetic_train": "synthetic/train.json",
    "synthetic_gallery": "synthetic/gallery.json",
    "synthetic_demo_train": "synthetic_demo/train.json",
    "synthetic_demo_gallery": "synthetic_demo/gallery.json",
}


def register_custom_json(
    name: str, json_file: str | os.PathLike, image_root: str | os.PathLike | None = None
) -> None:
    """Give an own-data file a name, to be used wherever a dataset's name is. Reads nothing yet.

    Args:
        name: the new name.
        json_file: the file; a relative path is relative to the working directory of the day.
        image_root: what the file names are relative to; the JSON's own folder by default.

    Raises:
        InputError: the name is taken by another file.
    """
    json_file = str(json_file)
    image_root = str(image_root or Path(json_file).parent)
    if name not in DatasetCatalog.list():
        DatasetCatalog.register(name, partial(load_custom_json, json_file, image_root))
        _describe(name, json_file, image_root)
    taken = MetadataCatalog.get(name)
    if (taken.get("json_file"), taken.get("image_root")) != (json_file, image_root):
        raise InputError(
            f"Dataset name {name!r} is taken (file {taken.get('json_file')}, images in "
            f"{taken.get('image_root')}); expected a new name for {json_file}"
        )


def resolve_dataset(name: str) -> str:
    """The name, after seeing to it that Detectron2's catalogs know it.

    Args:
        name: a registered name, or the path of an own-data file that ends in `.json`, which is
            registered under its path on first use.

    Raises:
        InputError: the name is neither; the message lists the known ones.
    """
    if name in BUILT_IN_DATASETS:
        json_file = _find(BUILT_IN_DATASETS[name])
        _describe(name, str(json_file), str(json_file.parent))
    elif name not in DatasetCatalog.list():
        if not name.endswith(".json"):
            raise InputError(
                f"Unknown dataset {name!r}; expected one of {', '.join(list_datasets())}, "
                "or the path of an own-data file ending in .json"
            )
        register_custom_json(name, name)
    return name


def list_datasets() -> list[str]:
    """The registered person-search datasets, sorted; Detectron2's own are not among them."""
    return sorted(
        name
        for name in DatasetCatalog.list()
        if MetadataCatalog.get(name).get("evaluator_type") == "person_search"
    )


def get_records(name: str) -> list[dict]:
    """The records of a dataset (see `load_custom_json`), read anew.

    Raises:
        InputError: unknown name, a dataset that is not here, or a file not in the format.
    """
    return DatasetCatalog.get(resolve_dataset(name))


def list_protocols(name: str) -> tuple[str, ...]:
    """What a dataset can be evaluated under: its fixed galleries, then those every dataset has.

    These are "all", every image but the query's own, and "cross_camera", the images of other
    cameras than the query's, where every image's camera is known.
    """
    records = get_records(name)
    cameras = bool(records) and all("cam_id" in record for record in records)
    return (*list_galleries(name), ALL, *([CROSS_CAMERA] if cameras else []))


def list_galleries(name: str) -> tuple[str, ...]:
    """The names of the fixed galleries of a dataset."""
    return tuple(_galleries(name))


def default_protocols(name: str) -> tuple[str, ...]:
    """What a dataset is evaluated under unless told otherwise: its fixed galleries, or "all"."""
    defaults = MetadataCatalog.get(resolve_dataset(name)).get("default_protocols")
    return tuple(defaults or _galleries(name) or (ALL,))


def load_gallery(name: str, protocol: str) -> Gallery:
    """A fixed gallery of a dataset; "all" and "cross_camera" follow from the records alone.

    Raises:
        InputError: the dataset has no such gallery; the message lists what it has.
    """
    galleries = _galleries(name)
    if protocol not in galleries:
        raise InputError(
            f"{name}: no gallery {protocol!r}; expected one of {', '.join(galleries) or 'none'}, "
            f"beside {' and '.join(FULL_PROTOCOLS)}, which follow from the records"
        )
    return galleries[protocol]()


def load_training_records(names: Sequence[str]) -> list[dict]:
    """The records of several training sets in a row; identities of different sets stay different.

    The person ids of each set are moved up behind those of the sets before it, so that they are
    contiguous from 0 over all.

    Raises:
        InputError: a set is named twice, which would make two people of each.
    """
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise InputError(f"DATASETS.TRAIN names {', '.join(twice)} twice; expected each set once")
    merged: list[dict] = []
    identities = 0
    for name in names:
        records = get_records(name)
        merged.extend(_offset_identities(record, identities) for record in records)
        identities += count_identities(records)
    return merged


def count_identities(records: Sequence[dict]) -> int:
    """How many identities the records number: the highest person id of boxes and queries + 1."""
    return 1 + max(
        (
            entry["person_id"]
            for record in records
            for entry in record["annotations"] + record.get("queries", [])
        ),
        default=UNLABELED,
    )


def _offset_identities(record: dict, offset: int) -> dict:
    """A copy of the record with every known identity moved up."""
    moved = dict(record)
    for field in moved.keys() & {"annotations", "queries"}:
        moved[field] = [
            entry | {"person_id": entry["person_id"] + offset}
            if entry["person_id"] != UNLABELED
            else entry
            for entry in record[field]
        ]
    return moved


def _galleries(name: str) -> dict[str, Callable[[], Gallery]]:
    galleries = MetadataCatalog.get(resolve_dataset(name)).get("galleries", {})
    return galleries() if callable(galleries) else galleries


def _describe(name: str, json_file: str, image_root: str) -> None:
    # past Metadata.set, which refuses a second value: the root of the datasets may move
    vars(MetadataCatalog.get(name)).update(
        json_file=json_file,
        image_root=image_root,
        galleries=partial(load_custom_galleries, json_file),
        evaluator_type="person_search",
        thing_classes=["person"],
    )


def _find(path: str) -> Path:
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")) / path


def _find_present(name: str, path: str) -> Path:
    found = _find(path)
    if not found.exists():
        raise InputError(
            f"Dataset {name!r} is not at {found}; expected it below $DETECTRON2_DATASETS or, "
            "without that variable, ./datasets (datasets/README.md tells how to get it)"
        )
    return found


def _load_built_in(name: str) -> list[dict]:
    return load_custom_json(_find_present(name, BUILT_IN_DATASETS[name]))


def _load_benchmark(name: str) -> list[dict]:
    return BENCHMARKS[name].load(_find_present(name, BENCHMARKS[name].folder))


def _load_benchmark_gallery(name: str, protocol: str) -> Gallery:
    root = _find_present(name, BENCHMARKS[name].folder)
    return BENCHMARKS[name].galleries[protocol](root)


def _register_built_in() -> None:
    for name in BUILT_IN_DATASETS:
        DatasetCatalog.register(name, partial(_load_built_in, name))
        MetadataCatalog.get(name).set(evaluator_type="person_search", thing_classes=["person"])
    for name, benchmark in BENCHMARKS.items():
        DatasetCatalog.register(name, partial(_load_benchmark, name))
        MetadataCatalog.get(name).set(
            evaluator_type="person_search",
            thing_classes=["person"],
            galleries={
                protocol: partial(_load_benchmark_gallery, name, protocol)
                for protocol in benchmark.galleries
            },
            default_protocols=benchmark.default_protocols,
        )


_register_built_in()
