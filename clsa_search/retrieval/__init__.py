"""Galleries of people found in photographs and videos: filled once, asked many times."""

from clsa_search.retrieval.answers import Answer
from clsa_search.retrieval.gallery import (
    Entry,
    Filter,
    GalleryStore,
    Matches,
    Overtaken,
    Progress,
    Source,
)
from clsa_search.retrieval.indexer import Indexer, IndexOptions, IndexReport
from clsa_search.retrieval.person_searcher import People, PersonSearcher
from clsa_search.retrieval.scenes import Scene
from clsa_search.retrieval.search import Gallery, open_gallery
from clsa_search.retrieval.store import open_store
from clsa_search.retrieval.transfer import copy_gallery
from clsa_search.visualize import Sighting

__all__ = [
    "Answer",
    "Entry",
    "Filter",
    "Gallery",
    "GalleryStore",
    "IndexOptions",
    "IndexReport",
    "Indexer",
    "Matches",
    "Overtaken",
    "People",
    "PersonSearcher",
    "Progress",
    "Scene",
    "Sighting",
    "Source",
    "copy_gallery",
    "open_gallery",
    "open_store",
]
