"""What a search looked at: footage and gaps from indexed files, in reports and cases."""

import io
import json
import os
import zipfile

import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, Match
from clsa_search.retrieval.coverage_lanes import describe_coverage, draw_coverage, format_length
from clsa_search.retrieval.evidence_case import CaseRequest, write_case
from clsa_search.retrieval.report import write_report, write_results
from clsa_search.retrieval.results import QueryResult, format_results
from clsa_search.retrieval.search_records import read_search_record
from clsa_search.retrieval.search_scope import find_query_time, read_scope
from clsa_search.retrieval.sighting_rows import list_rows
from clsa_search.retrieval.source_coverage import read_coverage
from clsa_search.sightings.coverage import CameraCoverage
from clsa_search.structures import PersonImage
from tests.support.footage import draw_blocks, write_image, write_video
from tests.support.sighting_cases import DAY, find_sighting, make_gallery

RULES = {"time_from": "name:%Y%m%dT%H%M%S", "zone": "UTC"}


@pytest.fixture
def cameras(tmp_path):
    """Two cameras: north for 4 s at midnight and a minute later, south for 4 s in between."""
    folder = tmp_path / "cameras"
    for place, color in (
        ("north/20260501T000000.avi", 3),
        ("north/20260501T000100.avi", 1),
        ("south/20260501T000030.avi", 3),
    ):
        write_video(folder / place, [{color: 2 * i} for i in range(40)])
    return folder


@pytest.fixture
def store(tmp_path, cameras):
    with make_gallery(tmp_path / "cameras.db", cameras, **RULES) as store:
        yield store


def test_gaps_are_known_to_a_frame(store):
    assert read_coverage(store) == [
        CameraCoverage("north", ((DAY, DAY + 4), (DAY + 60, DAY + 64)), ((DAY + 4, DAY + 60),), 0),
        CameraCoverage(
            "south", ((DAY + 30, DAY + 34),), ((DAY, DAY + 30), (DAY + 34, DAY + 64)), 0
        ),
    ]


def test_a_filter_bounds_the_question(store):
    where = Filter(cameras=["south"], since=DAY + 20, until=DAY + 100)
    assert read_coverage(store, where) == [
        CameraCoverage(
            "south", ((DAY + 30, DAY + 34),), ((DAY + 20, DAY + 30), (DAY + 34, DAY + 100)), 0
        )
    ]
    (path,) = (one.path for one in store.sources() if one.camera == "south")
    assert read_coverage(store, Filter(sources=[path]))[0].spans == ((DAY + 30, DAY + 34),)


def test_of_a_lost_file_counts_what_was_seen(store, cameras):
    (cameras / "north" / "20260501T000000.avi").unlink()
    os.utime(cameras / "north" / "20260501T000100.avi", ns=(1, 1))
    assert read_coverage(store)[0].spans == ((DAY, DAY + 3), (DAY + 60, DAY + 63))


def test_an_unfinished_file_counts_as_far_as_it_is_indexed(tmp_path, cameras):
    with make_gallery(tmp_path / "half.db", cameras / "south", link=False, **RULES) as store:
        (source,) = store.sources()
        object.__setattr__(source, "next_frame", 20)
        store.sources = lambda: [source]
        assert read_coverage(store)[0].spans == ((DAY + 30, DAY + 32),)


def test_footage_without_a_date_covers_no_hours(tmp_path, folder):
    with make_gallery(tmp_path / "undated.db", folder) as store:
        coverage = read_coverage(store)
    assert [(one.camera, one.spans, one.undated) for one in coverage] == [
        ("north", (), 1),
        ("south", (), 2),
    ]
    assert (
        describe_coverage(coverage) == "3 files have no date: which hours were filmed is unknown."
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "1 min"), (65, "1 min 5 s"), (3600, "1 h"), (90_061, "1 d 1 h")],
)
def test_lengths_have_two_units(seconds, text):
    assert format_length(seconds) == text


def test_rows_show_the_longest_gaps_and_count_the_others():
    spans = tuple((100.0 * i, 100.0 * i + 60 - i) for i in range(21))
    gaps = tuple((end, 100.0 * (i + 1)) for i, (_, end) in enumerate(spans[:-1]))
    view = draw_coverage([CameraCoverage("north", spans, gaps, 2)], str, [("north", 50.0)])
    (lane,) = view.lanes
    assert len(lane.gaps) == 12 and lane.shorter == 8 and lane.undated == 2
    assert lane.gaps[-1] == (str(1900.0 + 60 - 19), "2000.0", "59 s")  # the last is the longest
    assert lane.marks == [pytest.approx(100 * 50 / 2040, abs=1e-3)]
    assert lane.bars[0] == (0.0, pytest.approx(100 * 60 / 2040, abs=1e-3))
    assert "2 files have no date." in view.summary


def test_the_report_says_what_was_not_looked_at(store, tmp_path):
    result = QueryResult("query", [PersonImage(draw_blocks({3: 10}), [10, 20, 24, 60])], [])
    where = Filter(cameras=["north"])
    write_report([result], tmp_path / "report.html", address="a.db", scope=read_scope(store, where))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Searched: 8 s of 1 camera; 56 s without footage." in page
    assert '"not seen" says nothing of these times' in page and "(56 s)" in page
    assert "cameras: north" in page and store.weights in page and "<script" not in page
    assert "none: similarities are ranks only" in page


def test_the_case_says_what_was_not_looked_at(store):
    file = io.BytesIO()
    rows = list_rows(store, [find_sighting(store, 3, "north").tracklet_id])
    write_case(store, rows, CaseRequest(where=Filter(cameras=["north"])), file)
    with zipfile.ZipFile(file) as archive:
        case, page = json.loads(archive.read("case.json")), archive.read("report.html").decode()
    assert case["coverage"] == [
        {
            "camera": "north",
            "spans": [
                ["2026-05-01T00:00:00.000+00:00", "2026-05-01T00:00:04.000+00:00"],
                ["2026-05-01T00:01:00.000+00:00", "2026-05-01T00:01:04.000+00:00"],
            ],
            "gaps": [["2026-05-01T00:00:04.000+00:00", "2026-05-01T00:01:00.000+00:00"]],
            "files_without_date": 0,
        }
    ]
    assert "No footage: 2026-05-01T00:00:04 to 2026-05-01T00:01:00 (56 s)." in page


def test_matches_of_another_day_are_marked(store, tmp_path):
    sighting = find_sighting(store, 3, "north")
    match = Match(store.get([sighting.best])[0], 1.0, sighting)
    image = PersonImage(draw_blocks({3: 10}), [10, 20, 24, 60])
    for taken, is_other in ((DAY + 3 * 86_400, True), (sighting.first, False), (None, False)):
        result = QueryResult("query", [image], [match], query_times=[taken])
        assert result.is_other_day(match) is is_other
        write_results([result], tmp_path, address="a.db", scope=read_scope(store))
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert ("1 match is of another day than the query" in page) is is_other
        assert ("another than the query's: clothes may have changed" in page) is is_other
        assert ("of another day than the query" in format_results([result])) is is_other
        record = read_search_record(store, tmp_path / "results.json")
        assert record.judgments[sighting.tracklet_id].other_day is is_other
        assert record.coverage == read_coverage(store) and record.filters["cameras"] is None
        file = io.BytesIO()
        rows = list_rows(store, [sighting.tracklet_id], record.judgments)
        write_case(store, rows, CaseRequest(coverage=record.coverage), file)
        with zipfile.ZipFile(file) as archive:
            case = archive.read("report.html").decode()
        assert ("another day than the query" in case) is is_other


def test_the_time_of_a_query_is_that_of_its_file(tmp_path):
    photo = write_image(tmp_path / "20260501T000000.png", {3: 10})
    with make_gallery(tmp_path / "photos.db", photo, **RULES) as store:
        assert find_query_time(store, photo) == DAY
        assert find_query_time(store, write_image(tmp_path / "other.png", {3: 10})) is None


def test_a_damaged_coverage_is_named(store, tmp_path):
    values = {"queries": [{"matches": []}], "scope": {"coverage": [{"camera": "north"}]}}
    (tmp_path / "results.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="is no results.json of one query"):
        read_search_record(store, tmp_path / "results.json")
