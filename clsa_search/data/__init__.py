from .catalog import (
    count_identities,
    get_records,
    list_datasets,
    load_training_records,
    register_search_json,
    resolve_dataset,
)
from .search_json import UNLABELLED, SearchJsonError, load_search_json, save_search_json

__all__ = [
    "UNLABELLED",
    "SearchJsonError",
    "count_identities",
    "get_records",
    "list_datasets",
    "load_search_json",
    "load_training_records",
    "register_search_json",
    "resolve_dataset",
    "save_search_json",
]
