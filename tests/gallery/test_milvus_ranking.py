"""Rankings and filters on Milvus: pages of hits, ties, names with any characters."""

import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, IndexProgress, milvus_ranking, milvus_table
from clsa_search.gallery.milvus_table import Table
from tests.support.store_cases import (
    make_embeddings,
    make_image,
    make_images,
    new_store,
    search_by_sorting,
)

ROWS = make_embeddings(7)
SEARCH = Table.search


@pytest.fixture
def store(milvus_address):
    with new_store(milvus_address) as store:
        yield store


def search_with_reversed_ties(table, queries, limit, condition, fields):
    """Search with ties in the reverse order of ids."""
    found = SEARCH(table, queries, 1000, condition, fields)
    ranked = [sorted(hits, key=lambda hit: (-hit["distance"], -hit["id"])) for hits in found]
    return [hits[:limit] for hits in ranked]


@pytest.mark.parametrize("per", ["match", "image"])
def test_a_ranking_is_exact_over_many_pages(store, monkeypatch, per):
    monkeypatch.setattr(Table, "search", search_with_reversed_ties)
    monkeypatch.setattr(milvus_ranking, "_SPARE", 0)
    monkeypatch.setattr(milvus_ranking, "_GROUP_SHARE", 1)
    monkeypatch.setattr(milvus_ranking, "_BLOCK_HITS", 40)
    queries = make_embeddings(5, seed=77)
    detections = store.get(store.add(make_images()))
    for k in (1, 2, 7, 30):
        hits = store.search_ids(queries, k, per=per)
        expected = search_by_sorting(detections, queries, k, per=per)
        assert hits.ids.tolist() == [[one for one, _ in best] for best in expected]


def test_images_with_more_detections_than_a_page(store, monkeypatch):
    for module in (milvus_ranking, milvus_table):
        monkeypatch.setattr(module, "MAX_ROWS", 8)
    query = ROWS[:1]
    crowd = make_image(query.repeat(20, axis=0), "crowd.jpg")
    ids = store.add([crowd, *(make_image(ROWS, f"{i}.jpg") for i in range(3))])
    hits = store.search_ids(query, 8, per="image")
    firsts = {detection.source for detection in store.get(hits.ids[0])}
    assert firsts == {"crowd.jpg", "0.jpg", "1.jpg", "2.jpg"}
    assert hits.ids[0, 1:].tolist() == [ids[20], ids[27], ids[34]]
    with pytest.raises(InputError, match="k: 9; expected at most 8"):
        store.search_ids(query, 9)


def test_any_text_may_be_a_name(store):
    names = ['"', "'; drop", "a\\", "{x}", "ü\n\t%", "x" * 5000, "x" * 4999 + "y", "日本"]
    for name in names:
        store.add(
            [make_image(ROWS[:1], f"{name}.jpg", camera=name)], [IndexProgress(f"{name}.jpg", name)]
        )
    for name in names:
        for where in (Filter(cameras=[name]), Filter(sources=[f"{name}.jpg"])):
            (detection_id,) = store.search_ids(ROWS[:1], 100, where).ids[0]
            (detection,) = store.get([detection_id])
            assert (detection.camera, detection.source) == (name, f"{name}.jpg")
    assert store.cameras() == sorted(names)
    assert [source.fingerprint for source in store.sources()] == names
    assert [store.delete(f"{name}.jpg") for name in names] == [1] * len(names)


@pytest.mark.parametrize(
    ("where", "count"),
    [
        (Filter(since=float("-inf"), until=float("inf")), 1),  # with a known time
        (Filter(since=float("inf")), 0),
        (Filter(until=float("nan")), 0),
        (Filter(cameras=[]), 0),
        (Filter(), 2),
    ],
)
def test_unusual_filters(tmp_path, milvus_address, where, count):
    for place in (tmp_path / "gallery.db", milvus_address):
        with new_store(place) as store:
            store.add([make_image(ROWS[:1], time=-3.5), make_image(ROWS[:1], "b.jpg", camera="x")])
            assert store.count(where) == store.search_ids(ROWS, 9, where).ids.shape[1] == count
