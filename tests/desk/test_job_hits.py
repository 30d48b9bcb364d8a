"""Jobs of the desk and the watch list; a calibration that is ended keeps the one before."""

import json
import sys
import threading
import time

import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")

import numpy as np

from clsa_search.gallery import Note, open_store
from clsa_search.gallery.sqlite_store import SQLiteStore
from clsa_search.retrieval.gallery_search import GallerySearch
from clsa_search.retrieval.stored_calibration import CALIBRATION_KIND, read_calibration
from clsa_search.retrieval.watch_hits import list_pending
from clsa_search.retrieval.watch_reports import WatchOptions
from clsa_search.sightings.calibration import Calibration
from clsa_search.sightings.stranger_tail import StrangerTail
from tests.support.desk_cases import RED, make_client, make_gallery
from tests.support.footage import BlockPredictor, write_image
from tests.support.job_cases import finish, start, wait_for
from tests.support.photographs import START, add_photographs

SAVE = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"


def write_calibration(store):
    """Store a calibration by which every sighting is a hit where so many alarms are accepted."""
    tail = StrangerTail((-3.0, 0.0, 3.0), (1.0, 0.5, 1e-3))
    ids = tuple(one.tracklet_id for one in store.tracklets())
    known = Calibration(tail, 600, 0, 2 * len(ids), ids, 0.0, (), START)
    data = np.array(ids, "<i8").tobytes()
    store.write_notes([Note(CALIBRATION_KIND, known.to_values(), data=data)])


@pytest.fixture
def gallery(tmp_path):
    with make_gallery(tmp_path) as gallery:
        write_calibration(gallery.store)
        yield gallery


def make_desk(gallery, tmp_path, hook=()):
    return make_client(gallery, [tmp_path / "media"], watch=WatchOptions(1e6, hook))


def watch_red(client):
    answer = client.post("/api/v1/people", json={"name": "Ann", "of": [{"detection": 1}]})
    assert answer.status_code == 201, answer.text
    return answer.json()


def read_lines(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_hits_of_a_job_are_reported_when_it_ends(gallery, tmp_path, capsys):
    file = tmp_path / "hits.jsonl"
    with make_desk(gallery, tmp_path, [sys.executable, "-c", SAVE, str(file)]) as client:
        watch_red(client)
        write_image(tmp_path / "media" / "new.png", {RED: 10})
        job, _ = finish(client, kind="index")
        assert job["state"] == "done" and job["problems"] == []
        assert job["message"].endswith("0 left out; 1 hit of the watch list")
        (line,) = read_lines(capsys.readouterr().out)
        assert line["person"] == "Ann" and line["source"].endswith("new.png")
        assert read_lines(file.read_text()) == [line]
        (ann,) = client.get("/api/v1/people").json()
        assert ann["sightings"] == [line["sighting"]]
        assert list_pending(gallery.store) == []
        job, _ = finish(client, kind="index")  # a hit is reported once
        assert "hit" not in job["message"] and read_lines(capsys.readouterr().out) == []


def test_a_hook_that_fails_is_named_and_tried_again(gallery, tmp_path, capsys):
    with make_desk(gallery, tmp_path, ["/no/such/program"]) as client:
        watch_red(client)
        write_image(tmp_path / "media" / "new.png", {RED: 10})
        job, _ = finish(client, kind="index")
        (problem,) = job["problems"]
        assert "hook /no/such/program" in problem and "it is tried again" in problem
        assert len(list_pending(gallery.store)) == 1
    with make_desk(gallery, tmp_path) as client:
        job, _ = finish(client, kind="index")
        assert "1 hit of the watch list" in job["message"]
        assert len(read_lines(capsys.readouterr().out)) == 1


def test_a_job_says_why_nobody_is_compared(tmp_path):
    with make_gallery(tmp_path) as gallery, make_desk(gallery, tmp_path) as client:
        watch_red(client)
        job, _ = finish(client, kind="index")
        (problem,) = job["problems"]
        assert problem.startswith("watch list: not compared, the gallery is not calibrated: ")


@pytest.mark.parametrize("kind", ["calibrate", "index"])
def test_an_ended_calibration_keeps_the_one_before(tmp_path, monkeypatch, kind):
    """Each frame takes 50 ms here; all of them would take 20 s."""
    with open_store(tmp_path / "street.db", weights="w", create=True) as store:
        add_photographs(store, 400, camera="north")
        if kind == "calibrate":
            write_calibration(store)
        before = store.notes(CALIBRATION_KIND)
    is_read, list_detections = threading.Event(), SQLiteStore.list

    def list_slowly(*args, **options):
        is_read.set()
        time.sleep(0.05)
        return list_detections(*args, **options)

    with GallerySearch(open_store(tmp_path / "street.db"), BlockPredictor()) as gallery:
        with make_client(gallery) as client:
            monkeypatch.setattr(SQLiteStore, "list", list_slowly)
            number = start(client, kind=kind)["id"]
            assert is_read.wait(20)
            begin = time.monotonic()
            client.delete(f"/api/v1/jobs/{number}")
            path = f"/api/v1/jobs/{number}"
            wait_for(lambda: client.get(path).json()["state"] == "cancelled", 10)
            assert time.monotonic() - begin < 2
        assert gallery.store.notes(CALIBRATION_KIND) == before
        known = read_calibration(gallery.store)
        assert (known is None) == (kind == "index")
