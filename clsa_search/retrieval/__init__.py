"""Galleries of people found in photographs and videos: filled once, asked many times."""

from clsa_search.gallery import (
    Filter,
    GalleryImage,
    GalleryStore,
    IndexConflict,
    IndexProgress,
    Match,
    SearchHits,
    Source,
    StoredDetection,
    copy_gallery,
    open_store,
)
from clsa_search.retrieval.gallery_search import GallerySearch, open_gallery
from clsa_search.retrieval.indexer import Indexer, IndexOptions, IndexReport
from clsa_search.retrieval.predictor import PersonSearchPredictor
from clsa_search.retrieval.results import QueryResult
from clsa_search.visualize import PersonImage

__all__ = [
    "QueryResult",
    "StoredDetection",
    "Filter",
    "GallerySearch",
    "GalleryStore",
    "IndexOptions",
    "IndexReport",
    "Indexer",
    "Match",
    "SearchHits",
    "IndexConflict",
    "PersonSearchPredictor",
    "IndexProgress",
    "GalleryImage",
    "PersonImage",
    "Source",
    "copy_gallery",
    "open_gallery",
    "open_store",
]
