from clsa_search.data.catalog import (
    count_identities,
    default_protocols,
    get_records,
    list_datasets,
    list_protocols,
    load_gallery,
    load_training_records,
    register_search_json,
    resolve_dataset,
)
from clsa_search.data.galleries import ALL, CROSS_CAMERA, Gallery, build_gallery
from clsa_search.data.records import UNLABELLED
from clsa_search.data.search_json import load_search_json, save_search_json

__all__ = [
    "ALL",
    "CROSS_CAMERA",
    "UNLABELLED",
    "Gallery",
    "build_gallery",
    "count_identities",
    "default_protocols",
    "get_records",
    "list_datasets",
    "list_protocols",
    "load_gallery",
    "load_search_json",
    "load_training_records",
    "register_search_json",
    "resolve_dataset",
    "save_search_json",
]
