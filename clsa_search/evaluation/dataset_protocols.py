"""Protocols of a dataset by name."""

from collections.abc import Callable, Sequence

from clsa_search.data.catalog import default_protocols, list_galleries, load_gallery
from clsa_search.data.galleries import ALL, CROSS_CAMERA, Gallery
from clsa_search.errors import InputError
from clsa_search.evaluation.protocol import (
    SearchProtocol,
    build_protocol,
    cross_camera_gallery,
    full_gallery,
)


def load_protocols(
    dataset_name: str,
    records: Sequence[dict],
    names: Sequence[str] | None = None,
    *,
    build: Callable[[Sequence[dict], Gallery, str], SearchProtocol] = build_protocol,
) -> list[SearchProtocol]:
    """Load protocols of a dataset, in the given order and each once.

    Args:
        dataset_name: name or path, as for `clsa_search.data.get_records`.
        records: records of the dataset.
        names: names out of `clsa_search.data.list_protocols`; None for `default_protocols`.
        build: builder of each protocol (`SearchOptions.build_protocol`).

    Raises:
        InputError: the dataset has no such protocol, or lacks a necessary `cam_id`.
    """
    names = default_protocols(dataset_name) if names is None else names
    galleries = list_galleries(dataset_name)
    protocols = []
    for name in dict.fromkeys(names):
        if name not in (*galleries, ALL, CROSS_CAMERA):
            cameras = all("cam_id" in record for record in records)
            known = (*galleries, ALL, *([CROSS_CAMERA] if cameras else []))
            raise InputError(
                f"{dataset_name}: no protocol {name!r}; expected one of {', '.join(known)}"
            )
        make_gallery = {ALL: full_gallery, CROSS_CAMERA: cross_camera_gallery}.get(name)
        gallery = make_gallery(records) if make_gallery else load_gallery(dataset_name, name)
        protocols.append(build(records, gallery, name))
    return protocols
