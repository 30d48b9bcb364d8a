"""Sources that get another path, in both engines."""

import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, IndexProgress, Source, open_store
from clsa_search.gallery.milvus_table import Table
from tests.support.store_cases import make_embeddings, make_image, make_images, new_store


def list_fields(store):
    """Return all but the embedding of each detection."""
    return [{**vars(one), "embedding": one.embedding.tolist()} for one in store.scan()]


def test_a_source_gets_another_path_and_keeps_its_detections(store_address):
    with new_store(store_address) as store, open_store(store_address) as other:
        store.add(make_images(), [IndexProgress("video_1.mp4", "old state", next_frame=9)])
        before = list_fields(store)
        query = make_embeddings(1)
        hits = other.search(query, 1000)[0]
        count = store.count(Filter(sources=["video_1.mp4"]))
        assert store.relink("video_1.mp4", "moved.mp4", "new state") == count > 0
        expected = [
            one | ({"source": "moved.mp4"} if one["source"] == "video_1.mp4" else {})
            for one in before
        ]
        assert list_fields(store) == list_fields(other) == expected
        again = other.search(query, 1000)[0]
        assert [one.similarity for one in again] == [one.similarity for one in hits]
        assert other.count(Filter(sources=["moved.mp4"])) == count
        assert other.count(Filter(sources=["video_1.mp4"])) == 0
        assert Source("moved.mp4", "new state", 9, count) in store.sources()
        assert "video_1.mp4" not in [source.path for source in store.sources()]
        store.add([make_image(query, "video_1.mp4")])  # the old path is free
        assert store.delete("moved.mp4") == count
        assert store.count(Filter(sources=["video_1.mp4"])) == 1


def test_sources_without_detections_or_progress_can_move(store_address):
    with new_store(store_address) as store:
        store.add([make_image(make_embeddings(2), "a.jpg")], [IndexProgress("b.jpg", "state")])
        assert store.relink("a.jpg", "c.jpg", None) == 2
        assert store.relink("b.jpg", "d.jpg", "state") == 0
        assert sorted(store.sources(), key=lambda source: source.path) == [
            Source("c.jpg", None, None, 2),
            Source("d.jpg", "state", None, 0),
        ]


def test_unknown_sources_and_known_paths_are_refused(store_address):
    with new_store(store_address) as store:
        store.add([make_image(make_embeddings(2), name) for name in ("a.jpg", "b.jpg")])
        with pytest.raises(InputError, match="c.jpg: is not indexed"):
            store.relink("c.jpg", "d.jpg", None)
        with pytest.raises(InputError, match="b.jpg: is indexed already; expected a new path"):
            store.relink("a.jpg", "b.jpg", None)
        assert [one.source for one in store.scan()] == ["a.jpg"] * 2 + ["b.jpg"] * 2


@pytest.mark.parametrize("calls", range(4))
def test_a_relink_that_was_killed_is_completed_by_another(milvus_address, monkeypatch, calls):
    images = [make_image(make_embeddings(5), "a.mp4", frame=frame) for frame in range(300)]
    with new_store(milvus_address) as store:
        store.add(images, [IndexProgress("a.mp4", "state", next_frame=300)])
        left = calls

        def stop(write):
            def call(table, *arguments):
                nonlocal left
                left -= 1
                if left < 0:
                    raise KeyboardInterrupt
                return write(table, *arguments)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(Table, "upsert", stop(Table.upsert))
            patch.setattr(Table, "delete", stop(Table.delete))
            with pytest.raises(KeyboardInterrupt):
                store.relink("a.mp4", "b.mp4", "state")
        assert store.count() == 1500
        assert store.relink("a.mp4", "b.mp4", "state") == 1500
        assert store.sources() == [Source("b.mp4", "state", 300, 1500)]
        assert store.count(Filter(sources=["b.mp4"])) == store.count() == 1500
