"""Exports: tables without formulas, crops, clips, evidence cases; the same bytes each time."""

import csv
import hashlib
import io
import json
import zipfile
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from PIL import Image

from clsa_search.retrieval.evidence_case import CaseRequest, write_case
from clsa_search.retrieval.sighting_exports import export_rows
from clsa_search.retrieval.sighting_rows import (
    CSV_COLUMNS,
    Judgment,
    format_iso,
    guard_formula,
    list_rows,
    name_row,
    write_csv,
)
from clsa_search.structures import PersonImage
from tests.support.footage import BlockPredictor, draw_blocks
from tests.support.sighting_cases import find_sighting


@pytest.fixture(autouse=True)
def without_ffmpeg(monkeypatch):
    monkeypatch.setenv("PATH", "")


def rows_of(store, **judgment):
    sightings = [find_sighting(store, 3, "a.avi"), find_sighting(store, 2)]
    ids = [one.tracklet_id for one in sightings]
    return list_rows(store, ids, {ids[0]: Judgment(**judgment)} if judgment else None)


def export(store, rows, kind, **options):
    file = io.BytesIO()
    missing = export_rows(store, rows, kind, file, **options)
    return file.getvalue(), missing


def read_zip(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def read_csv(content):
    assert content.startswith(b"\xef\xbb\xbf")
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def test_the_table_says_where_and_when(store, folder):
    table, missing = export(store, rows_of(store, similarity=0.75, expected_strangers=0.004), "csv")
    header, first, second = read_csv(table)
    assert tuple(header) == CSV_COLUMNS and not missing
    values = dict(zip(header, first, strict=True))
    assert values["camera"] == "north" and values["source"] == str(folder / "north" / "a.avi")
    assert values["first"] == "2026-05-01T00:00:00.000+00:00"
    assert values["last"] == "2026-05-01T00:00:03.000+00:00"
    assert (values["similarity"], values["expected_strangers"]) == ("0.75", "0.004")
    assert float(values["seconds_in_file"]) in (0, 1, 2, 3)
    values = dict(zip(header, second, strict=True))
    assert (values["first"], values["seconds_in_file"], values["similarity"]) == ("", "", "")
    assert float(values["x0"]) == pytest.approx(30, abs=2)


def test_times_have_the_zone(store):
    table = write_csv(rows_of(store), ZoneInfo("Europe/Berlin"))
    assert read_csv(table)[1][2] == "2026-05-01T02:00:00.000+02:00"
    assert (format_iso(90.5), format_iso(None), format_iso(1e300)) == ("0:01:30.5", "", "1e+300")


@pytest.mark.parametrize(
    "text", ["=1+1", "+A1", "-2", "@SUM(A1)", " =1", "\t=1", "\rx", "\n", "\uff1d1"]
)
def test_no_cell_is_a_formula(text):
    assert guard_formula(text) == f"'{text}"
    assert guard_formula(f"a{text}") == f"a{text}"


def test_names_of_files_cannot_leave_the_folder(store):
    row = rows_of(store)[0]
    for camera in ("../../etc", "/abs", "C:\\x", "a\0b", "....", "ü" * 300, "\udcff"):
        changed = type(row)(**{**vars(row), "camera": camera})
        name = name_row(changed, 3)
        assert name.isascii() and len(name) < 80
        assert not set(name) & set("/\\:\0") and ".." not in name


def test_crops_show_the_person(store):
    content, missing = export(store, rows_of(store), "crops")
    entries = read_zip(content)
    assert not missing
    crops = sorted(name for name in entries if name.startswith("crops/"))
    assert [name.split("_")[1] for name in crops] == ["north", "south"]
    assert read_csv(entries["sightings.csv"])[0] == list(CSV_COLUMNS)
    for name, color in zip(crops, (3, 2), strict=True):
        pixels = np.array(Image.open(io.BytesIO(entries[name])))
        block = draw_blocks({color: 0})[40, 5].astype(int)
        assert (np.abs(pixels.astype(int) - block).sum(axis=2) < 60).mean() > 0.1


def test_clips_are_of_videos_only(store):
    entries = read_zip(export(store, rows_of(store), "clips")[0])
    (clip,) = [name for name in entries if name.startswith("clips/")]
    assert clip.endswith(".webp")
    with Image.open(io.BytesIO(entries[clip])) as image:
        assert image.n_frames in (20, 21)  # four seconds at 5 per second


def test_missing_footage_is_named_and_the_rest_goes_on(store, folder):
    rows = rows_of(store)
    (folder / "north" / "a.avi").unlink()
    for kind, left in (("crops", 1), ("clips", 0)):
        content, missing = export(store, rows, kind)
        entries = read_zip(content)
        assert sum(name.startswith(kind) for name in entries) == left
        assert len(missing) == 1 and "a.avi" in missing[0]
        assert entries["missing.txt"].decode().splitlines() == missing


def make_case(store, rows, **request):
    file = io.BytesIO()
    missing = write_case(store, rows, CaseRequest(**request), file)
    return file.getvalue(), missing


REQUEST = {
    "title": "Case <1>",
    "query": {"title": "a red coat"},
    "filters": {"cameras": ["north"]},
    "searched": 4212,
    "calibration": {"pairs": 900},
    "notes": ["<script>alert(1)</script>"],
}


def test_a_case_holds_all_that_was_asked_and_found(store, folder):
    query = PersonImage(draw_blocks({3: 40}), np.array([40, 20, 54, 60]), "query")
    rows = rows_of(
        store,
        similarity=0.75,
        expected_strangers=0.004,
        verdict="possible",
        said="same",
        probability=0.712,
    )
    content, missing = make_case(store, rows, **REQUEST, query_images=[query])
    entries = read_zip(content)
    assert not missing
    case = json.loads(entries["case.json"])
    for name in ("title", "query", "filters", "searched", "calibration", "notes"):
        assert case[name] == REQUEST[name]
    assert case["weights_sha256"] == BlockPredictor.weights_sha256
    digests = {one["path"]: one["sha256"] for one in case["sources"]}
    for path, digest in digests.items():
        assert hashlib.sha256(open(path, "rb").read()).hexdigest() == digest  # noqa: SIM115
    assert len(digests) == 2
    first = case["sightings"][0]
    assert (first["similarity"], first["expected_strangers"], first["said"]) == (
        0.75,
        0.004,
        "same",
    )
    assert first["probability"] == 0.712 and b"71 % the same" in entries["report.html"]
    assert read_csv(entries["sightings.csv"])[1][CSV_COLUMNS.index("probability")] == "0.712"
    assert first["crop"] in entries and first["clip"] in entries
    assert [one["start_from"] for one in case["sources"]] == [None, "given"]
    assert set(entries) == {
        *("case.json", "report.html", "sightings.csv", "SHA256SUMS", "query/01.jpg"),
        *(one["crop"] for one in case["sightings"]),
        first["clip"],
    }
    for line in entries["SHA256SUMS"].decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(entries[name]).hexdigest() == digest == case["files_sha256"][name]


def test_a_report_shows_names_as_text(store):
    page = read_zip(make_case(store, rows_of(store), **REQUEST)[0])["report.html"].decode()
    assert "<script" not in page and "Case &lt;1&gt;" in page
    assert "4,212 sightings were searched" in page
    plain = read_zip(make_case(store, rows_of(store))[0])["report.html"].decode()
    assert "not calibrated" in plain


def test_the_same_request_gives_the_same_bytes(store):
    rows = rows_of(store)
    for kind in ("csv", "crops", "clips"):
        assert export(store, rows, kind)[0] == export(store, rows, kind)[0]
    assert make_case(store, rows, **REQUEST)[0] == make_case(store, rows, **REQUEST)[0]


def test_a_case_without_footage_says_so(store, folder):
    rows = rows_of(store)
    (folder / "north" / "a.avi").write_bytes(b"other")
    content, missing = make_case(store, rows)
    entries = read_zip(content)
    case = json.loads(entries["case.json"])
    assert case["missing"] == missing and len(missing) == 3  # source, crop, clip
    image, video = case["sources"]
    problem = video["problem"]
    assert image["problem"] is None
    assert "changed since it was indexed" in problem
    assert (
        problem in entries["report.html"].decode()
        or "changed since" in entries["report.html"].decode()
    )
