"""Ids of detections on Milvus: claimed before insertion, unique, and kept by every change."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, Note, Placement, open_store
from clsa_search.gallery.milvus_notes import NoteTable
from tests.support.store_cases import make_embeddings, make_image, make_images, new_store

WRITERS, ADDS = 4, 3


def test_ids_are_small_and_ascend_over_processes(milvus_address):
    with new_store(milvus_address) as store, new_store(milvus_address) as other:
        first = store.add(make_images(6)).tolist()
        second = other.add(make_images(6)).tolist()
        third = store.add([make_image(make_embeddings(2), "c.jpg")]).tolist()
        ids = [*first, *second, *third]
        assert ids == list(range(1, len(ids) + 1))  # a browser reads numbers up to 2 ** 53
        other.delete("c.jpg")
        assert other.add([make_image(make_embeddings(1))]).tolist() == [len(ids) + 1]


def test_simultaneous_adds_never_share_an_id(milvus_address):
    with new_store(milvus_address) as store:
        store.add([make_image(make_embeddings(1), "first.jpg")])

    def add(writer):
        images = [make_image(make_embeddings(3), f"{writer}_{i}.jpg") for i in range(ADDS)]
        with new_store(milvus_address) as own:
            return [number for image in images for number in own.add([image]).tolist()]

    with ThreadPoolExecutor(WRITERS) as pool:
        found = [number for ids in pool.map(add, range(WRITERS)) for number in ids]
    assert len(set(found)) == len(found) == WRITERS * ADDS * 3
    with open_store(milvus_address) as store:
        assert store.count() == len(found) + 1
        assert [one.detection_id for one in store.scan()] == sorted([1, *found])


def test_of_two_claims_the_later_reader_gives_up(milvus_address, monkeypatch):
    """Another process claims the same numbers between the first read and the claim."""
    with new_store(milvus_address) as store, new_store(milvus_address) as other:
        store.add([make_image(make_embeddings(1), "first.jpg")])
        upsert, taken = NoteTable.upsert, []

        def upsert_late(table, rows):
            if not taken and rows[0]["value"] == "4":  # of the claim of 2 to 4
                monkeypatch.setattr(NoteTable, "upsert", upsert)
                taken.extend(other.add([make_image(make_embeddings(2), "b.jpg")]).tolist())
            upsert(table, rows)

        monkeypatch.setattr(NoteTable, "upsert", upsert_late)
        assert store.add([make_image(make_embeddings(3), "a.jpg")]).tolist() == [4, 5, 6]
        assert taken == [2, 3]


def test_many_adds_leave_few_claims(milvus_address):
    with new_store(milvus_address) as store:
        for i in range(24):
            (number,) = store.add([make_image(make_embeddings(1), f"{i}.jpg")])
        assert number == 24
        claims = NoteTable(
            store._client, milvus_address, f"{milvus_address.rpartition('/')[2]}_notes"
        )
        assert claims.claim_ids(7) == 25 and claims.claim_ids(1) == 32


@pytest.mark.parametrize("change", ["relink", "place"])
def test_ids_and_verdicts_stay_when_a_source_changes(store_address, change):
    with new_store(store_address) as store:
        store.add(make_images())
        before = {one.detection_id: one.box for one in store.scan()}
        mine = [one.detection_id for one in store.list(Filter(sources=["video_1.mp4"]))]
        note = Note("verdict", {"said": "same"}, detection=mine[1])
        store.write_notes([note])
        path = "video_1.mp4"
        if change == "relink":
            path = "moved.mp4"
            store.relink("video_1.mp4", path, None)
        else:
            store.place(path, Placement("gate", 2e9, "given"), None)
        assert {one.detection_id: one.box for one in store.scan()} == before
        assert [one.detection_id for one in store.list(Filter(sources=[path]))] == mine
        assert [one.detection for one in store.notes("verdict")] == mine[1:2]
        assert store.find_tracklets(mine) == mine


def make_older_gallery(address):
    """Make a gallery whose server chooses the ids, as earlier versions did."""
    from pymilvus import DataType, MilvusClient

    server, _, name = address.rpartition("/")
    with new_store(f"{address}_new") as store:
        store.add(make_images())
    with new_store(address):
        pass
    client = MilvusClient(server)
    schema = client.create_schema(enable_dynamic_field=False)
    for field in client.describe_collection(f"{name}_new_detections")["fields"]:
        known = {
            one: field["params"][one] for one in ("max_length", "dim") if one in field["params"]
        }
        options = {"is_primary": True, "auto_id": True} if field["name"] == "id" else known
        nullable = {"nullable": True} if field.get("nullable") else {}
        schema.add_field(field["name"], DataType(field["type"]), **options, **nullable)
    client.create_collection(f"{name}_detections", schema=schema, consistency_level="Strong")
    client.close()


def test_an_older_gallery_works_and_does_not_lose_its_verdicts(milvus_address):
    make_older_gallery(milvus_address)
    with new_store(milvus_address) as store:
        ids = store.add(make_images()).tolist()
        assert store.relink("video_1.mp4", "moved.mp4", None) > 0  # nothing is said of it
        mine = [one.detection_id for one in store.list(Filter(sources=["moved.mp4"]))]
        store.write_notes([Note("verdict", {"said": "same"}, detection=mine[0])])
        for move in (
            lambda: store.relink("moved.mp4", "again.mp4", None),
            lambda: store.place("moved.mp4", Placement("gate", 2e9, "given"), None),
        ):
            with pytest.raises(InputError, match="1 sighting with .*expected `clsa-search copy"):
                move()
        assert [one.detection_id for one in store.list(Filter(sources=["moved.mp4"]))] == mine
        assert store.place("photo_3.jpg", Placement("gate", None, None), None) > 0
        assert len(ids) == store.count()


def test_preloading_changes_no_answer(store_address):
    query = make_embeddings(1)
    with new_store(store_address) as store:
        store.preload()  # of an empty gallery
        store.add(make_images())
    with open_store(store_address) as store, open_store(store_address) as other:
        store.preload()
        here, there = (one.search_tracklets(query, 50) for one in (store, other))
        assert here.ids.tolist() == there.ids.tolist() and here.ids.size
        assert here.similarities.tolist() == there.similarities.tolist()
        other_count = other.count_tracklets()
        assert store.count_tracklets() == other_count == store.count()
