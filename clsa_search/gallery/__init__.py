"""Storage of galleries: index detections once, search them many times; knows no model."""

from clsa_search.gallery.detection_origins import ORIGINS, Origin
from clsa_search.gallery.engines import open_store
from clsa_search.gallery.store import GalleryStore
from clsa_search.gallery.store_records import (
    Filter,
    GalleryImage,
    IndexConflict,
    IndexProgress,
    Match,
    Note,
    Placement,
    SearchHits,
    Source,
    StoredDetection,
    Tracklet,
)
from clsa_search.gallery.transfer import copy_gallery

__all__ = [
    "ORIGINS",
    "Filter",
    "GalleryImage",
    "GalleryStore",
    "IndexConflict",
    "IndexProgress",
    "Match",
    "Note",
    "Origin",
    "Placement",
    "SearchHits",
    "Source",
    "StoredDetection",
    "Tracklet",
    "copy_gallery",
    "open_store",
]
