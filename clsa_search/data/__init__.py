from .search_json import UNLABELLED, SearchJsonError, load_search_json, save_search_json

__all__ = ["UNLABELLED", "SearchJsonError", "load_search_json", "save_search_json"]
