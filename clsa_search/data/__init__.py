from clsa_search.data.catalog import (
    count_identities,
    get_records,
    list_datasets,
    load_training_records,
    register_search_json,
    resolve_dataset,
)
from clsa_search.data.search_json import UNLABELLED, load_search_json, save_search_json

__all__ = [
    "UNLABELLED",
    "count_identities",
    "get_records",
    "list_datasets",
    "load_search_json",
    "load_training_records",
    "register_search_json",
    "resolve_dataset",
    "save_search_json",
]
