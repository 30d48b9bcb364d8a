"""Galleries of blocks: opened, indexed and read."""

import multiprocessing
import time

from clsa_search.gallery import open_store
from clsa_search.retrieval import Indexer, IndexOptions
from tests.support.footage import BlockPredictor

PROCESSES = multiprocessing.get_context("forkserver")


def open_gallery(folder):
    return open_store(folder / "gallery.db", weights=BlockPredictor.weights_sha256, create=True)


def index(store, *paths, predictor=None, **options):
    """Index; return the report, the estimated number of images and the calls of `on_stored`."""
    indexer = Indexer(predictor or BlockPredictor(), store, IndexOptions(**options))
    calls = []
    expected = indexer.plan(paths)
    indexer.run(lambda images, detections: calls.append((images, detections)))
    return indexer.report, expected, calls


def list_rows(store):
    """Return (source, frame, left edge) of all detections, in the order of files and frames."""
    detections = store.scan(limit=10_000)
    return sorted((e.source, -1 if e.frame is None else e.frame, e.box[0]) for e in detections)


class Mortal(BlockPredictor):
    """A predictor that dies after some images, as if the process did."""

    def __init__(self, lifetime):
        super().__init__()
        self.lifetime = lifetime

    def detect(self, images):
        if self.num_images + len(images) > self.lifetime:
            raise KeyboardInterrupt
        return super().detect(images)


def index_slowly(folder, media, seed, delay):
    """Index with a slow predictor, in a process to be killed."""

    class Slow(BlockPredictor):
        def detect(self, images):
            time.sleep(delay)
            return super().detect(images)

    with open_gallery(folder) as store:
        index(store, media, predictor=Slow(), rate=10, batch_size=1 + seed % 3)
