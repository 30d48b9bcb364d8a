"""Wrong arguments of a store from Python: each is named in an InputError."""

import threading

import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Filter
from tests.support.store_cases import make_embeddings, make_image, make_images, new_store

ROWS = make_embeddings(2)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cameras": "north"}, "cameras: 'north'; expected a list of texts"),
        ({"sources": "a.jpg"}, "sources: 'a.jpg'; expected a list of texts"),
        ({"cameras": [1]}, r"cameras: \[1\]; expected a list of texts"),
        ({"cameras": 1}, "cameras: 1; expected"),
        ({"since": "1:00"}, "since: '1:00'; expected a number"),
        ({"min_score": [0.5]}, r"min_score: \[0.5\]; expected a number"),
    ],
)
def test_filters(fields, words):
    with pytest.raises(InputError, match=f"filter: {words}"):
        Filter(**fields)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda store: store.search(ROWS, 0), "k: 0; expected"),
        (lambda store: store.search(ROWS, 2.5), "k: 2.5; expected an integer"),
        (lambda store: store.search(ROWS, "3"), "k: '3'; expected an integer"),
        (lambda store: store.search("person.jpg", 3), "queries: a str; expected an array"),
        (lambda store: store.search(None, 3), "queries: a NoneType; expected an array"),
        (lambda store: store.search(ROWS[0], 3), "queries of shape"),
        (lambda store: store.get("ab"), "ids: 'ab'; expected"),
        (lambda store: store.get([2**63]), "ids: .*; expected"),
        (lambda store: store.get([1.5]), "ids: .*; expected"),
        (lambda store: store.get(3), "ids: 3; expected"),
        (lambda store: store.add(["a.jpg"]), "an image is a str; expected a GalleryImage"),
        (lambda store: store.list(limit=1.5), "limit: 1.5; expected 0 or more, an integer"),
        (lambda store: store.list(limit=2**70), "limit: .*; expected 0 or more, an integer"),
    ],
)
def test_arguments_of_a_store(store_address, call, words):
    with new_store(store_address) as store:
        store.add([make_image(ROWS)])
        with pytest.raises(InputError, match=words) as error:
            call(store)
        assert store_address in str(error.value)
        assert len(store.search(ROWS, 5)[0]) == 2  # it works on


@pytest.mark.parametrize("where", ["north", {"cameras": ["north"]}, 5])
def test_a_condition_that_is_no_filter(store_address, where):
    with new_store(store_address) as store:
        store.add([make_image(ROWS)])
        for call in (
            lambda: store.count(where),
            lambda: store.list(where),
            lambda: store.search(ROWS, 3, where),
        ):
            with pytest.raises(InputError, match="^where: is of type .*; expected a Filter"):
                call()


def test_embeddings_of_a_store_are_queries_as_they_are(store_address, recwarn):
    with new_store(store_address) as store:
        store.add([make_image(ROWS)])
        (first, *_) = store.scan()
        (matches,) = store.search(first.embedding[None], 1)
        assert matches[0].detection.detection_id == first.detection_id
    assert not [warning for warning in recwarn if "not writable" in str(warning.message)]


def test_a_closed_store(tmp_path):
    store = new_store(tmp_path / "gallery.db")
    store.add([make_image(ROWS)])
    store.close()
    for call in (store.count, store.sources, lambda: store.search(ROWS, 1)):
        with pytest.raises(InputError, match="gallery.db: .*the gallery was closed: open it again"):
            call()


def test_a_search_beside_a_process_that_deletes(tmp_path):
    """Matches are whole: of before or of after a deletion."""
    path = tmp_path / "gallery.db"
    images, stop = make_images(40), threading.Event()

    def change():
        with new_store(path) as other:
            while not stop.is_set():
                other.delete("video_1.mp4")
                other.add([image for image in images if image.source == "video_1.mp4"])

    with new_store(path) as store:
        store.add(images)
        counts = {store.count() - store.count(Filter(sources=["video_1.mp4"])), store.count()}
        thread = threading.Thread(target=change)
        thread.start()
        try:
            found = [len(store.search(ROWS, 1000)[0]) for _ in range(100)]
            found += [len(store.list()) for _ in range(100)]
        finally:
            stop.set()
            thread.join()
    assert set(found) <= counts
