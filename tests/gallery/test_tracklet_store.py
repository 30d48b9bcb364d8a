"""Tracklets in a gallery store."""

from dataclasses import replace

import numpy as np
import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, IndexProgress, open_store
from tests.support.store_cases import make_embeddings, make_image, make_images, new_store
from tests.support.tracklet_cases import describe, link_by, make_tracklet

VIDEO = "video_1.mp4"


def by_half(detection):
    """Two tracklets, one after the other."""
    return detection.frame >= 30


@pytest.fixture
def store(store_address):
    with new_store(store_address) as store:
        store.add(make_images())
        yield store


def test_a_new_detection_is_a_tracklet_of_its_own(store):
    detections, tracklets = store.scan(), store.tracklets(embeddings=True)
    assert len(detections) == len(tracklets) == store.count_tracklets()
    for one, tracklet in zip(detections, tracklets, strict=True):
        expected = replace(make_tracklet([one]), embedding=one.embedding)
        assert describe(tracklet) == describe(expected)
    ids = [one.detection_id for one in detections]
    assert store.find_tracklets(ids) == ids
    (member,) = store.tracklet_detections(ids[3])
    assert member.detection_id == ids[3]
    # photographs are linked as they are
    assert store.unlinked() == ["video_0.mp4", "video_1.mp4", "video_2.mp4"]


def test_tracklets_are_stored_and_read(store, store_address):
    members = link_by(store, VIDEO, by_half)
    assert store.unlinked() == ["video_0.mp4", "video_2.mp4"]
    with open_store(store_address) as other:
        found = other.tracklets(Filter(sources=[VIDEO]), embeddings=True)
        assert [one.tracklet_id for one in found] == [ids[0] for ids in members]
        for one, ids in zip(found, members, strict=True):
            inside = store.get(ids)
            assert describe(one) == describe(make_tracklet(inside))
            assert [d.detection_id for d in other.tracklet_detections(one.tracklet_id)] == ids
            assert other.find_tracklets(ids) == [one.tracklet_id] * len(ids)
        assert [describe(one) for one in other.get_tracklets([members[1][0], members[0][0]])] == [
            describe(found[1]),
            describe(found[0]),
        ]
        (source,) = [one for one in other.sources() if one.path == VIDEO]
        assert source.is_linked and source.tracklets == 2
        total = store.count() - sum(map(len, members)) + 2
        assert other.count_tracklets() == len(other.tracklets()) == total
        assert other.tracklets()[0].embedding is None


def test_lists_follow_filter_order_and_limits(store):
    link_by(store, VIDEO, by_half)
    everything = store.tracklets()
    by_time = sorted(
        everything, key=lambda one: (one.first is not None, one.first or 0, one.tracklet_id)
    )
    assert store.tracklets(order_by="time") == by_time
    assert store.tracklets(order_by="time", limit=5, offset=40) == by_time[40:45]
    first, second = store.tracklets(Filter(sources=[VIDEO]))
    # seen at some time of the filter, its best detection or not
    middle = Filter(sources=[VIDEO], since=first.first + 0.1, until=first.first + 0.2)
    assert [one.tracklet_id for one in store.tracklets(middle)] == [first.tracklet_id]
    assert store.count_tracklets(Filter(sources=[VIDEO], since=second.last)) == 1
    assert store.count_tracklets(Filter(cameras=["door"])) == 2
    assert store.count_tracklets(Filter(cameras=["nowhere"])) == 0
    bound = (first.score + 1) / 2
    expected = [one for one in everything if one.score >= bound]
    assert store.tracklets(Filter(min_score=bound)) == expected
    with pytest.raises(InputError, match="order_by: 'score'; expected 'id' or 'time'"):
        store.tracklets(order_by="score")
    with pytest.raises(InputError, match="limit: -1; expected 0 or more"):
        store.tracklets(limit=-1)


@pytest.mark.parametrize("where", [None, Filter(cameras=["door"]), Filter(since=5, until=9)])
def test_searches_rank_tracklets(store, store_address, where):
    queries = make_embeddings(4, seed=5)
    with open_store(store_address) as reader:
        reader.search_tracklets(queries, 3)  # holds the tracklets of one
        for path in ("video_0.mp4", VIDEO):
            link_by(store, path, by_half)
        for searcher in (reader, store):
            hits = searcher.search_tracklets(queries, 7, where)
            inside = store.tracklets(where, embeddings=True)
            assert hits.ids.shape == (4, min(7, len(inside)))
            for query, ids, values in zip(queries, hits.ids, hits.similarities, strict=True):
                found = {one.tracklet_id: float(query @ one.embedding) for one in inside}
                assert values == pytest.approx(sorted(found.values(), reverse=True)[:7], abs=1e-6)
                assert values == pytest.approx([found[i] for i in ids.tolist()], abs=1e-6)


def test_a_chain_is_one_result(store):
    frames = store.list(Filter(sources=[VIDEO]))
    other = store.list(Filter(sources=["video_0.mp4"]))
    link_by(store, "video_0.mp4", lambda one: 0)
    chain = other[0].detection_id
    tracklet = make_tracklet(frames, chain=chain)
    store.set_tracklets(VIDEO, [tracklet], [[one.detection_id for one in frames]])
    (hits,) = store.search_tracklets(tracklet.embedding[None], 1000).ids.tolist()
    assert hits[0] == tracklet.tracklet_id
    assert chain not in hits
    assert store.get_tracklets([tracklet.tracklet_id])[0].chain == chain


def test_another_process_follows_new_and_deleted_detections(store, store_address):
    query = make_embeddings(1, seed=3)
    with open_store(store_address) as reader:
        reader.search_tracklets(query, 5)
        link_by(store, VIDEO, by_half)
        store.add([make_image(query, "new.mp4", frame=0, time=0.0)])
        (ids,) = reader.search_tracklets(query, 1000).ids
        assert "new.mp4" in {one.source for one in reader.get_tracklets(ids)}
        assert store.delete("new.mp4") == 1
        assert store.delete(VIDEO) > 1
        everything = reader.search_tracklets(query, 1000).ids
        assert sorted(everything[0]) == [one.tracklet_id for one in store.tracklets()]
        assert store.count_tracklets() == store.count()


def test_more_detections_of_a_source_unlink_it(store):
    link_by(store, VIDEO, by_half)
    linked = store.tracklets(Filter(sources=[VIDEO]))
    store.add([make_image(make_embeddings(2), VIDEO, frame=100, time=50.0, camera="door")])
    assert VIDEO in store.unlinked()
    assert store.tracklets(Filter(sources=[VIDEO]))[:2] == linked
    assert store.count_tracklets(Filter(sources=[VIDEO])) == 4


def test_deleted_detections_dissolve_their_tracklets(store, store_address):
    first, second = link_by(store, VIDEO, by_half)
    count = store.count()
    with open_store(store_address) as reader:
        reader.search_tracklets(make_embeddings(1), 5)
        reader.search(make_embeddings(1), 5)
        assert store.delete_detections([first[1], first[2], 10**9]) == 2
        assert VIDEO in store.unlinked()
        assert store.count() == count - 2
        left = [i for i in first if i not in first[1:3]]
        kept = [one.tracklet_id for one in store.tracklets(Filter(sources=[VIDEO]))]
        assert sorted(kept) == sorted([*left, second[0]])
        ids = reader.search_tracklets(make_embeddings(1), 1000).ids[0]
        assert sorted(ids) == [one.tracklet_id for one in store.tracklets()]
        ids = reader.search_ids(make_embeddings(1), 1000).ids[0]
        assert sorted(ids) == [one.detection_id for one in store.scan()]
    with pytest.raises(InputError, match=f"there is no detection {first[1]}"):
        store.get([first[1]])
    assert store.delete_detections([]) == 0


def test_a_deleted_tracklet_leaves_the_others_linked(store):
    first, second = link_by(store, VIDEO, by_half)
    assert store.delete_detections(first) == len(first)
    (source,) = [one for one in store.sources() if one.path == VIDEO]
    assert (source.detections, source.tracklets, source.is_linked) == (len(second), 1, True)
    assert VIDEO not in store.unlinked()
    store.delete_detections(second[:1])
    (source,) = [one for one in store.sources() if one.path == VIDEO]
    assert (source.tracklets, source.is_linked) == (len(second) - 1, False)


def test_a_reader_knows_what_a_new_one_knows_after_each_deletion(store, store_address):
    queries = make_embeddings(3, seed=7)
    first, second = link_by(store, VIDEO, by_half)
    photo = store.list(Filter(sources=["video_0.mp4"]))[0].detection_id
    with open_store(store_address) as reader:
        for deleted in (first, second[1:2], [photo], [second[0], second[2]]):
            reader.search_tracklets(queries, 5), reader.search_ids(queries, 5)  # holds all of it
            store.delete_detections(deleted)
            store.add([make_image(queries[:1], "new.mp4", frame=photo, time=0.0)])
            with open_store(store_address) as fresh:
                for one in (reader, store):
                    for name in ("search_tracklets", "search_ids"):
                        found, expected = (getattr(x, name)(queries, 1000) for x in (one, fresh))
                        assert found.ids.tolist() == expected.ids.tolist(), (name, deleted)
                        assert found.similarities == pytest.approx(expected.similarities)
                    assert one.count_tracklets() == len(fresh.tracklets())
                    assert one.cameras() == fresh.cameras() and one.count() == fresh.count()
                    assert one.sources() == fresh.sources()


def test_a_preloaded_store_follows_changes(store, store_address):
    queries = make_embeddings(3, seed=7)
    with open_store(store_address) as reader:
        reader.preload()
        first, _ = link_by(store, VIDEO, by_half)
        store.delete_detections(first)
        store.add([make_image(queries[:1], "new.mp4", frame=0, time=0.0)])
        reader.preload()  # once more changes nothing
        found, expected = (one.search_tracklets(queries, 1000) for one in (reader, store))
        assert found.ids.tolist() == expected.ids.tolist()
        assert reader.count_tracklets() == len(store.tracklets())


def test_tracklets_must_hold_each_detection_once(store):
    frames = store.list(Filter(sources=[VIDEO]))
    ids = [one.detection_id for one in frames]
    right = make_tracklet(frames)
    for tracklets, members, words in (
        ([right], [ids[1:]], "link again, another process may have changed them"),
        ([right], [[*ids, ids[0]]], "expected each stored one once"),
        ([right, right], [ids], "2 sightings; expected 1"),
        ([replace(right, tracklet_id=ids[1])], [ids], f"expected the id {ids[0]}"),
        ([replace(right, detections=1)], [ids], "and one of its detections"),
        ([replace(right, best=10**9)], [ids], "and one of its detections"),
        ([replace(right, embedding=None)], [ids], "expected 16 finite numbers of unit length"),
        ([replace(right, embedding=right.embedding * np.nan)], [ids], "of unit length"),
        ([replace(right, embedding=right.embedding[:8])], [ids], "expected 16 finite"),
    ):
        with pytest.raises(InputError, match=f"video_1.mp4: .*{words}"):
            store.set_tracklets(VIDEO, tracklets, members)
    with pytest.raises(InputError, match="x.mp4: is not indexed"):
        store.set_tracklets("x.mp4", [], [])
    assert VIDEO in store.unlinked()


def test_unknown_tracklets_are_named(store):
    with pytest.raises(InputError, match="there is no sighting 7000000; expected a stored one"):
        store.get_tracklets([7_000_000])
    with pytest.raises(InputError, match="there is no sighting 7000000"):
        store.tracklet_detections(7_000_000)
    with pytest.raises(InputError, match="there is no detection 7000000"):
        store.find_tracklets([7_000_000])


def test_tracklets_can_be_reset(store):
    link_by(store, VIDEO, by_half)
    store.reset_tracklets()
    assert [one.tracklet_id for one in store.tracklets()] == [
        one.detection_id for one in store.scan()
    ]
    assert len(store.unlinked()) == 3


def test_an_empty_gallery_has_no_tracklets(store_address):
    with new_store(store_address) as store:
        assert store.tracklets() == [] and store.count_tracklets() == 0 and store.unlinked() == []
        assert store.search_tracklets(make_embeddings(2), 5).ids.shape == (2, 0)
        store.add([], [IndexProgress("a.mp4", "1", 4, camera="door", start=2e9, start_from="name")])
        store.set_tracklets("a.mp4", [], [])
        (source,) = store.sources()
        assert (source.camera, source.start, source.start_from) == ("door", 2e9, "name")
        store.add([], [IndexProgress("a.mp4", "1", None, 4)])
        assert store.sources()[0].camera == "door"
