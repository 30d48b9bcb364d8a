"""Storage of galleries: detections of images and videos, stored once and searched many times."""

from clsa_search.gallery.engines import open_store
from clsa_search.gallery.gallery_images import GalleryImage
from clsa_search.gallery.store import (
    Filter,
    GalleryStore,
    IndexConflict,
    IndexProgress,
    Matches,
    Source,
    StoredDetection,
)
from clsa_search.gallery.transfer import copy_gallery

__all__ = [
    "Filter",
    "GalleryImage",
    "GalleryStore",
    "IndexConflict",
    "IndexProgress",
    "Matches",
    "Source",
    "StoredDetection",
    "copy_gallery",
    "open_store",
]
