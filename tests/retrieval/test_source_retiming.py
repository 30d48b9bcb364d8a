"""Other cameras and start times for indexed files, without indexing them again."""

import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, open_store
from clsa_search.retrieval.placement_options import PlacementOptions
from clsa_search.retrieval.source_retiming import find_sources
from clsa_search.retrieval.source_retiming import retime as retime_files
from tests.support.sighting_cases import DAY, index_again, make_gallery


def list_rows(store):
    detections = [
        (one.source, one.frame, one.time, one.camera, one.box, one.embedding.tobytes())
        for one in store.list()
    ]
    tracklets = [
        (one.source, one.camera, one.first, one.last, one.detections) for one in store.tracklets()
    ]
    sources = [(one.path, one.camera, one.start, one.start_from) for one in store.sources()]
    return detections, tracklets, sources


def retime(store, *paths, shift=0.0, **options):
    return retime_files(store, paths, PlacementOptions(**options), shift=shift)[:2]


def test_a_retimed_gallery_is_as_if_indexed_so(store, folder, tmp_path):
    changed, problems = retime(store, folder, start_time=DAY + 7200, camera="yard")
    assert len(changed) == 3 and not problems
    options = {"start_time": DAY + 7200, "camera": "yard", "camera_from": ""}
    with make_gallery(tmp_path / "fresh.db", folder, **options) as fresh:
        assert list_rows(store) == list_rows(fresh)
    with open_store(tmp_path / "gallery.db") as other:  # checksums are right
        assert len(other.search(other.list()[0].embedding[None], 50)[0]) == 17


def test_searches_of_open_stores_follow(store, folder, tmp_path):
    with open_store(tmp_path / "gallery.db") as other:
        query = other.list()[0].embedding[None]
        where = Filter(since=DAY + 7000)
        assert other.search(query, 50, where) == [[]]
        assert other.search_tracklets(query, 50, where).ids.shape == (1, 0)
        retime(store, folder / "north", start_time=DAY + 7200)
        assert len(other.search(query, 50, where)[0]) == 8
        assert other.search_tracklets(query, 50, where).ids.shape == (1, 2)
        assert other.count(where) == 8
        assert {one.camera for one in other.list(where)} == {"north"}


def test_what_no_option_tells_stays(store, folder):
    path = folder / "north" / "a.avi"
    ((source, placement),), _ = retime(store, path, shift=-30)
    assert placement == ("north", DAY - 30, "given") and source.path == str(path)
    ((_, placement),), _ = retime(store, path, camera_from="name:(.*)")
    assert placement == ("a", DAY - 30, "given")
    assert retime(store, path, camera="a") == ([], [])  # as wanted already


@pytest.mark.parametrize("shift", [1e12, -DAY])
def test_a_shift_beyond_the_calendar_is_named(store, folder, shift):
    before = list_rows(store)
    changed, ((_, reason),) = retime(store, folder / "north", shift=shift)
    assert not changed and "a.avi: shift: " in reason and "beyond the calendar" in reason
    assert list_rows(store) == before


def test_photographs_get_a_time(store, folder):
    _, problems = retime(store, folder, shift=5)
    assert [path for path, _ in problems] == [str(folder / "south" / "photo.png")]
    assert "has no start time to shift" in problems[0][1]
    changed, problems = retime(store, folder / "south", time_from="mtime")
    assert len(changed) == 2 and not problems
    (photo,) = store.list(Filter(sources=[str(folder / "south" / "photo.png")]))
    assert photo.time == (folder / "south" / "photo.png").stat().st_mtime


def test_times_without_a_rule_are_named_and_the_rest_goes_on(store, folder):
    changed, problems = retime(store, folder, time_from="name:%Y%m%d")
    assert not changed and len(problems) == 3
    assert all("does not match '%Y%m%d'" in reason for _, reason in problems)
    retime(store, folder, time_from="name:%Y%m%d,none")
    assert {one.time for one in store.list(Filter(cameras=["north"]))} == {0, 1, 2, 3}


def test_other_rules_at_indexing_do_not_index_again(store, folder):
    before = list_rows(store)[0]
    report = index_again(store, folder, start_time=DAY + 60, camera_from="", camera="door")
    assert (report.images, report.moved, report.skipped) == (0, 3, 0)
    after = list_rows(store)[0]
    assert [row[4:] for row in after] == [row[4:] for row in before]
    assert {row[3] for row in after} == {"door"}
    report = index_again(store, folder, start_time=DAY + 60, camera_from="", camera="door")
    assert (report.images, report.moved, report.skipped) == (0, 0, 3)


def test_a_retimed_file_is_not_set_back_by_the_same_command(store, folder):
    retime(store, folder, start_time=DAY + 7200)
    assert index_again(store, folder, start_time=DAY).skipped == 3
    assert {one.start for one in store.sources() if one.start} == {DAY + 7200}


def test_a_given_start_of_an_old_gallery_is_known(tmp_path, folder):
    with make_gallery(tmp_path / "old.db", folder, start_time=DAY) as store:
        tables = store._tables
        with tables.writing("test"):  # as galleries of version 4 are after their migration
            for row in tables.select_sources("TRUE"):
                tables.write_source(row._replace(start=None, start_from=None))
        retime(store, folder / "north", start_time=DAY + 60)
        assert {one.time for one in store.list(Filter(cameras=["north"]))} == {
            DAY + 60 + i for i in range(4)
        }


def test_unknown_paths_are_named(store, tmp_path):
    with pytest.raises(InputError, match="other: is not indexed, and no indexed file lies below"):
        find_sources(store.sources(), [tmp_path / "other"])
