"""Deletion of sightings and files: counted first, complete, and lasting."""

import math
import os
import shutil
import sqlite3

import numpy as np
import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, open_store
from clsa_search.retrieval.audit_log import read_audit
from clsa_search.retrieval.deletions import DeletionSelector, plan_deletion, run_deletion
from clsa_search.retrieval.erasure import hash_content
from tests.support.footage import embed_color
from tests.support.sighting_cases import (
    CLIP_RULES,
    DAY,
    find_sighting,
    index_again,
    make_gallery,
    write_clips,
)


def delete(store, force=False, erase=False, **selector):
    plan = plan_deletion(store, DeletionSelector(**selector))
    return plan, run_deletion(store, plan, force=force, erase=erase).detections


def colors(store):
    """Return file and color of each sighting."""
    return sorted(
        (os.path.basename(one.source), int(one.embedding.argmax()))
        for one in store.tracklets(embeddings=True)
    )


ALL = [("a.avi", 1), ("a.avi", 3), ("b.avi", 0), ("b.avi", 3), ("photo.png", 2)]


def test_the_gallery_holds_what_the_tests_delete(store):
    assert colors(store) == ALL and store.count() == 17


@pytest.mark.parametrize(
    ("selector", "left", "counts"),
    [
        ({"cameras": ["north"]}, ALL[2:], (2, 8, 1)),
        ({"sightings": [1]}, [ALL[0], *ALL[2:]], (1, 4, 1)),
        ({"before": DAY + 3.5}, [("photo.png", 2)], (4, 16, 2)),
        ({"before": DAY + 3.5, "cameras": ["south"]}, [*ALL[:2], ALL[4]], (2, 8, 1)),
        ({"before": DAY + 2.5}, ALL, (0, 0, 0)),  # sightings go as a whole
        ({"after": DAY - 1, "cameras": ["north"]}, ALL[2:], (2, 8, 1)),
        ({"after": DAY}, ALL, (0, 0, 0)),
    ],
)
def test_what_is_chosen_is_deleted_and_the_rest_stays(store, selector, left, counts):
    if selector.get("sightings"):
        selector = {"sightings": [find_sighting(store, 3, "a.avi").tracklet_id]}
    plan, count = delete(store, force=True, **selector)
    assert (len(plan.sightings), plan.detections, plan.files) == counts and count == counts[1]
    assert colors(store) == left
    assert plan.without_time == (1 if "before" in selector or "after" in selector else 0) - (
        selector.get("cameras") == ["north"] and "after" in selector
    )
    assert store.count() == 17 - count
    (found,) = store.search(embed_color(3).astype(np.float32)[None], 50)
    assert len(found) == 17 - count


def test_dates_choose_no_times_within_videos(tmp_path, folder):
    with make_gallery(tmp_path / "undated.db", folder) as store:
        plan = plan_deletion(store, DeletionSelector(before=DAY + 1e6))
        assert (plan.sightings, plan.without_time) == ((), 5)
        plan = plan_deletion(store, DeletionSelector(before=3.5))
        assert (len(plan.sightings), plan.without_time) == (4, 1)
        with pytest.raises(InputError, match="different clocks"):
            plan_deletion(store, DeletionSelector(before=DAY, after=5.0))


def test_a_plan_deletes_nothing(store):
    plan = plan_deletion(store, DeletionSelector(cameras=["north"]))
    assert (plan.first, plan.last, plan.total) == (DAY, pytest.approx(DAY + 3), 17)
    assert colors(store) == ALL


def test_more_than_half_needs_force(store):
    plan = plan_deletion(store, DeletionSelector(cameras=["south"]))
    with pytest.raises(InputError, match="9 of 17 detections would be deleted, more than half"):
        run_deletion(store, plan)
    assert colors(store) == ALL
    assert run_deletion(store, plan, force=True).detections == 9


def test_whole_files_are_forgotten_and_indexed_again(store, folder):
    path = str(folder / "north" / "a.avi")
    plan, count = delete(store, sources=[path])
    assert (plan.sources, count) == ({path: 8}, 8)
    assert path not in store.paths()
    assert index_again(store, folder, start_time=DAY).images == 4
    assert colors(store) == ALL


def test_deleted_sightings_of_a_known_file_do_not_come_back(store, folder):
    delete(store, sightings=[find_sighting(store, 3, "a.avi").tracklet_id])
    assert index_again(store, folder, start_time=DAY).images == 0
    assert ("a.avi", 3) not in colors(store)


@pytest.mark.parametrize(
    ("selector", "reason"),
    [
        ({}, "nothing is chosen"),
        ({"cameras": ["east"]}, "camera east is not indexed"),
        ({"sources": ["/none.avi"]}, "source /none.avi is not indexed"),
        ({"sightings": [99]}, "99"),
        ({"before": 5.0, "after": 6.0}, "before is not later than after"),
    ],
)
def test_wrong_selections_are_named(store, selector, reason):
    with pytest.raises(InputError, match=reason):
        plan_deletion(store, DeletionSelector(**selector))


def read_disk(address):
    """Return the bytes of a gallery's files."""
    return b"".join(
        open(f"{address}{suffix}", "rb").read()  # noqa: SIM115
        for suffix in ("", "-wal")
        if os.path.exists(f"{address}{suffix}")
    )


@pytest.mark.parametrize("vacuum", [False, True])
def test_deleted_embeddings_and_names_leave_the_disk(tmp_path, folder, vacuum):
    address = tmp_path / "gallery.db"
    with make_gallery(address, folder, start_time=DAY) as store:
        embedding = store.list(Filter(cameras=["north"]))[0].embedding.tobytes()
        kept = store.list(Filter(cameras=["south"]))[-1].embedding.tobytes()
        name = str(folder / "north" / "a.avi").encode()
        assert embedding in read_disk(address) and name in read_disk(address)
        both = [one.embedding.tobytes() for one in store.list(Filter(cameras=["north"]))]
        plan = plan_deletion(store, DeletionSelector(sources=[name.decode()]))
        south = {one.embedding.tobytes() for one in store.list(Filter(cameras=["south"]))}
        run_deletion(store, plan, vacuum=vacuum)
        disk = read_disk(address)
        assert kept in disk
        assert name not in disk and b"north" not in disk
        gone = [one for one in both if one not in south]  # color 3 is in both videos
        assert gone and not any(one in disk for one in gone)


def test_readers_see_a_deletion(store, tmp_path):
    query = embed_color(3).astype(np.float32)[None]
    with open_store(tmp_path / "gallery.db") as other:
        assert len(other.search(query, 50)[0]) == 17
        delete(store, cameras=["north"])
        assert len(other.search(query, 50)[0]) == 9
        assert other.search_tracklets(query, 50).ids.shape == (1, 3)


@pytest.mark.parametrize("rate", [1, 2, 5])
def test_an_erased_person_does_not_come_back(store, folder, rate):
    sighting = find_sighting(store, 3, "a.avi")
    delete(store, erase=True, sightings=[sighting.tracklet_id])
    path = folder / "north" / "a.avi"
    os.utime(path, ns=(1, 1))  # the file is indexed again
    report = index_again(store, folder, start_time=DAY, rate=rate)
    assert report.images >= 4 * rate
    assert ("a.avi", 3) not in colors(store)
    assert {("a.avi", 1), ("b.avi", 3), ("b.avi", 0)} <= set(colors(store))  # others do


def test_an_erased_file_stays_without_its_people(store, folder):
    path = str(folder / "north" / "a.avi")
    delete(store, erase=True, sources=[path])
    index_again(store, folder, start_time=DAY, rate=2)
    assert not any(name == "a.avi" for name, _ in colors(store))
    assert path in store.paths()


def test_an_erased_person_of_an_image_does_not_come_back(store, folder):
    delete(store, erase=True, sightings=[find_sighting(store, 2).tracklet_id])
    os.utime(folder / "south" / "photo.png", ns=(1, 1))
    assert index_again(store, folder, start_time=DAY).images == 1
    assert not any(name == "photo.png" for name, _ in colors(store))


@pytest.mark.parametrize("is_copy", [False, True])
def test_an_erased_person_does_not_come_back_under_another_name(store, folder, is_copy):
    delete(store, erase=True, sightings=[find_sighting(store, 3, "a.avi").tracklet_id])
    old, new = folder / "north" / "a.avi", folder / "east" / "copy.avi"
    new.parent.mkdir()
    if is_copy:
        shutil.copyfile(old, new)
        os.utime(new, ns=(1, 1))
    else:
        old.rename(new)
    assert index_again(store, folder, start_time=DAY).renamed == (not is_copy)
    found = store.list(Filter(sources=[str(new)]))
    assert {int(one.embedding.argmax()) for one in found} == {1}


def test_the_content_of_a_file_is_known_by_its_ends(tmp_path):
    size = 3 << 20
    (tmp_path / "a").write_bytes(bytes(size))
    (tmp_path / "b").write_bytes(bytes(size))
    known = hash_content(str(tmp_path / "a"))
    assert known == hash_content(str(tmp_path / "b"))
    for place in (0, size - 1):
        content = bytearray(size)
        content[place] = 1
        (tmp_path / "b").write_bytes(content)
        assert hash_content(str(tmp_path / "b")) != known
    (tmp_path / "b").write_bytes(bytes(size + 1))
    assert hash_content(str(tmp_path / "b")) != known
    assert hash_content(str(tmp_path / "none")) is None


def test_nothing_of_an_erased_person_is_kept(store, tmp_path, folder):
    sighting = find_sighting(store, 1, "a.avi")
    embeddings = [one.embedding for one in store.tracklet_detections(sighting.tracklet_id)]
    delete(store, erase=True, sightings=[sighting.tracklet_id])
    os.utime(folder / "north" / "a.avi", ns=(1, 1))
    index_again(store, folder, start_time=DAY)
    store.scrub()
    disk = read_disk(tmp_path / "gallery.db")
    assert not any(one.tobytes() in disk for one in embeddings)


@pytest.fixture
def clips(tmp_path):
    """A gallery with a person who walks from a clip into the next."""
    folder = write_clips(tmp_path / "clips")
    with make_gallery(tmp_path / "clips.db", folder, link=False, **CLIP_RULES) as store:
        yield store


def test_a_sighting_goes_with_its_other_clips(clips, tmp_path):
    first, second = clips.tracklets()
    assert first.chain == second.chain and first.source != second.source
    plan, count = delete(clips, force=True, erase=True, sightings=[second.tracklet_id])
    assert plan.sightings == (first.tracklet_id, second.tracklet_id)
    assert (plan.files, count) == (2, 20) and clips.count() == 0
    for path in (tmp_path / "clips").rglob("*.avi"):
        os.utime(path, ns=(1, 1))
    assert index_again(clips, tmp_path / "clips", link=False, **CLIP_RULES).detections == 0


def test_other_sightings_stay_linked(store):
    delete(store, sightings=[find_sighting(store, 3, "a.avi").tracklet_id])
    assert store.unlinked() == []
    assert store.delete_detections([store.list(Filter(cameras=["south"]))[-1].detection_id]) == 1
    assert [os.path.basename(path) for path in store.unlinked()] == ["b.avi"]
    assert [one.detections for one in store.tracklets(Filter(cameras=["south"]))] != []


def test_the_log_has_counts_and_no_names(store):
    plan = plan_deletion(store, DeletionSelector(cameras=["north"]))
    run_deletion(store, plan, audit=True, erase=True)
    (line,) = read_audit(store)
    assert {key: line[key] for key in ("did", "by", "detections", "sightings")} == {
        "did": "erase",
        "by": ["cameras"],
        "detections": 8,
        "sightings": 2,
    }
    assert math.isfinite(line["at"]) and line["who"]
    assert "north" not in str(line)


def test_a_reader_that_holds_the_log_is_told(store, tmp_path):
    other = sqlite3.connect(tmp_path / "gallery.db")
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM detections").fetchone()
    plan = plan_deletion(store, DeletionSelector(cameras=["north"]))
    count, left = run_deletion(store, plan)
    assert count == 8
    assert left and "gallery.db-wal: still holds what was deleted" in left
    assert f"expected `clsa-search scrub {tmp_path}/gallery.db`" in left
    other.close()
    assert store.scrub() is None
