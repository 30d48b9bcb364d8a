"""The gallery store: people found in photographs and videos, kept and searched; no model here."""

from clsa_search.retrieval.gallery import (
    Entry,
    Filter,
    GalleryStore,
    Matches,
    Overtaken,
    Progress,
    Source,
)
from clsa_search.retrieval.scenes import Scene
from clsa_search.retrieval.store import open_store

__all__ = [
    "Entry",
    "Filter",
    "GalleryStore",
    "Matches",
    "Overtaken",
    "Progress",
    "Scene",
    "Source",
    "open_store",
]
