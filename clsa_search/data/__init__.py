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
from clsa_search.data.datasets.custom_json import load_custom_json, save_custom_json
from clsa_search.data.galleries import ALL, CROSS_CAMERA, Gallery, build_gallery
from clsa_search.data.records import UNLABELED

__all__ = [
    "ALL",
    "CROSS_CAMERA",
    "UNLABELED",
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
    "register_custom_json",
    "resolve_dataset",
    "save_custom_json",
]
