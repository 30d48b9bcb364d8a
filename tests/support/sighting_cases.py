"""Galleries of colored blocks with linked sightings, for tests of what is done with them."""

from clsa_search.gallery import open_store
from clsa_search.retrieval import Indexer, IndexOptions
from tests.support.footage import BlockPredictor, write_image, write_video
from tests.support.tracklet_cases import link_by

DAY = 1777593600.0  # 2026-05-01 00:00 UTC


def write_footage(folder):
    """Write two videos of four seconds, each of two people, and an image."""
    write_video(folder / "north" / "a.avi", [{3: 2 * i, 1: 80} for i in range(40)])
    write_video(folder / "south" / "b.avi", [{3: 80 - 2 * i, 0: 5} for i in range(40)])
    write_image(folder / "south" / "photo.png", {2: 30})
    return folder


def write_clips(folder):
    """Write two clips of one camera; a person walks from the first into the second."""
    names = "20260501T000000.avi", "20260501T000002.avi"
    for name, start in zip(names, (0, 20), strict=True):
        write_video(folder / "gate" / name, [{3: start + i} for i in range(20)])
    return folder


CLIP_RULES = {"time_from": "name:%Y%m%dT%H%M%S", "zone": "UTC", "rate": 5}
"""Options that index `write_clips`."""


def make_gallery(address, folder, *, link=True, predictor=None, **options):
    """Index a folder with one frame per second; return the store."""
    predictor = predictor or BlockPredictor()
    store = open_store(address, weights=predictor.weights_sha256, create=True)
    index_again(store, folder, link=link, predictor=predictor, **options)
    return store


def index_again(store, *paths, link=True, predictor=None, **options):
    """Index files and link each color of each video; return the report."""
    options = {"camera_from": "folder", **options}
    indexer = Indexer(predictor or BlockPredictor(), store, IndexOptions(**options))
    indexer.plan(paths)
    indexer.run()
    for path in store.unlinked() if link else ():
        link_by(store, path, lambda one: int(one.embedding.argmax()))
    return indexer.report


def find_sighting(store, color, name=""):
    """Return the only sighting of a color in the files whose paths hold a name."""
    (found,) = [
        one
        for one in store.tracklets(embeddings=True)
        if one.embedding.argmax() == color and name in one.source
    ]
    return found
