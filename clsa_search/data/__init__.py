"""Datasets: names, records, protocols, loaders. Detectron2 is imported at the first lazy name."""

from typing import TYPE_CHECKING

from clsa_search.data.galleries import ALL, CROSS_CAMERA, Gallery, build_gallery
from clsa_search.lazy import lazy_exports

if TYPE_CHECKING:
    from clsa_search.data.catalog import (
        count_identities,
        default_protocols,
        get_records,
        list_datasets,
        list_protocols,
        load_gallery,
        load_training_records,
        register_custom_json,
        resolve_dataset,
    )
    from clsa_search.data.datasets.custom_json import load_custom_json
    from clsa_search.data.datasets.json_queries import make_queries
    from clsa_search.data.datasets.json_writer import save_custom_json
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "count_identities": "clsa_search.data.catalog",
            "default_protocols": "clsa_search.data.catalog",
            "get_records": "clsa_search.data.catalog",
            "list_datasets": "clsa_search.data.catalog",
            "list_protocols": "clsa_search.data.catalog",
            "load_custom_json": "clsa_search.data.datasets.custom_json",
            "load_gallery": "clsa_search.data.catalog",
            "load_training_records": "clsa_search.data.catalog",
            "make_queries": "clsa_search.data.datasets.json_queries",
            "register_custom_json": "clsa_search.data.catalog",
            "resolve_dataset": "clsa_search.data.catalog",
            "save_custom_json": "clsa_search.data.datasets.json_writer",
        },
    )

__all__ = [
    "ALL",
    "CROSS_CAMERA",
    "Gallery",
    "build_gallery",
    "count_identities",
    "default_protocols",
    "get_records",
    "list_datasets",
    "list_protocols",
    "load_gallery",
    "load_custom_json",
    "load_training_records",
    "make_queries",
    "register_custom_json",
    "resolve_dataset",
    "save_custom_json",
]
