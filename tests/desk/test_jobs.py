"""Jobs of the desk: one at a time, bounded, followed, ended cleanly; numbers of a run."""

import contextlib
import os
import threading
import time

import httpx2
import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")

from clsa_search.desk import serve, serving
from clsa_search.desk.http_errors import Busy, NotFound
from clsa_search.desk.job_queue import MAX_WAITING, JobQueue
from clsa_search.desk.job_routes import MAX_FOLLOWERS
from clsa_search.errors import InputError
from clsa_search.gallery import Filter
from clsa_search.retrieval.index_options import IndexOptions
from tests.support.desk_cases import BLUE, GREEN, RED, make_client, make_gallery, search
from tests.support.footage import BlockPredictor, write_image, write_video
from tests.support.job_cases import finish, make_job_client, start, wait_for


@pytest.fixture
def client(gallery, tmp_path):
    """A client of a desk that may look for files in the folder of the footage."""
    with make_job_client(gallery, tmp_path / "media") as client:
        yield client


def test_new_files_of_a_folder_are_indexed(client, gallery, tmp_path):
    write_image(tmp_path / "media" / "gate" / "new.png", {GREEN: 10})
    (folder,) = client.get("/api/v1/gallery").json()["folders"]
    assert folder["name"] == "media"
    job, events = finish(client, kind="index", folder=folder["id"])
    assert (job["state"], job["done"], job["of"], job["problems"]) == ("done", 1, 1, [])
    assert job["message"] == "1 detection in 1 image added; 3 files as before, 0 left out"
    assert {one["state"] for one in events} <= {"waiting", "running", "done"}
    assert gallery.store.cameras() == ["door", "gate", "street", "yard"]
    assert gallery.store.count() == 10
    found = search(client, [{"detection": 2}])["matches"]
    assert "new.png" in [one["name"] for one in found[:2]], "at once, without a new start"
    again, _ = finish(client, kind="index")
    assert again["message"] == "0 detections in 0 images added; 4 files as before, 0 left out"


def test_a_changed_file_is_indexed_with_its_own_options(client, gallery, tmp_path):
    """The desk samples new videos five times a second; this one was sampled twice."""
    write_video(tmp_path / "media" / "street.avi", [{BLUE: 20, RED: 60}] * 30)
    job, _ = finish(client, kind="index")
    assert job["message"] == "12 detections in 6 images added; 2 files as before, 0 left out"
    where = Filter(sources=[str(tmp_path / "media" / "street.avi")])
    assert [one.frame for one in gallery.store.list(where)][::2] == [0, 5, 10, 15, 20, 25]
    assert gallery.store.cameras() == ["door", "street", "yard"]


def test_files_that_a_job_cannot_take_are_named(client, gallery, tmp_path):
    (tmp_path / "media" / "yard.png").unlink()
    source = gallery.store.sources()[0]
    gallery.predictor.min_score = 0.3
    os.utime(source.path, ns=(1, 1))
    job, _ = finish(client, kind="index")
    assert job["state"] == "done" and "1 file as before, 2 left out" in job["message"]
    gone, other = sorted(job["problems"], key=lambda reason: "door" in reason)
    assert "yard.png: No such file or directory" in gone
    assert "its minimum score was 0.5, not 0.3; expected `clsa-search index`" in other
    assert gallery.store.count() == 9, "what cannot be indexed again stays"


def test_without_folders_known_files_alone_are_looked_at(gallery, tmp_path):
    write_image(tmp_path / "media" / "new.png", {GREEN: 10})
    with make_client(gallery) as client:
        assert client.get("/api/v1/gallery").json()["folders"] == []
        job, _ = finish(client, kind="index")
        assert job["message"].startswith("0 detections in 0 images added; 3 files as before")
        start(client, 404, kind="index", folder="0" * 16)
        start(client, 422, kind="index", folder=str(tmp_path))


def test_a_gallery_is_calibrated_and_linked(client, gallery):
    job, _ = finish(client, kind="calibrate")
    assert job["message"] == "not calibrated by 2 pairs of certain strangers"
    job, _ = finish(client, kind="link", again=True)
    assert (job["done"], job["of"], job["message"]) == (1, 1, "5 sightings, 9 detections")
    assert gallery.store.unlinked() == []


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"kind": "delete"},
        {"kind": "link", "folder": "0" * 16},
        {"kind": "index", "again": True},
        {"kind": "index", "folder": "../../etc"},
        {"kind": "index", "path": "/etc"},
    ],
)
def test_other_jobs_are_refused(client, request_):
    start(client, 422, **request_)
    assert client.get("/api/v1/jobs").json() == []


def test_unknown_jobs_are_not_found(client):
    for method, path in (("GET", "7"), ("DELETE", "7"), ("GET", "7/events")):
        assert client.request(method, f"/api/v1/jobs/{path}").status_code == 404


class Slow:
    """Work that waits in each of its steps."""

    def __init__(self):
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, report):
        report.expect(3)
        for _ in range(3):
            self.begun.set()
            assert self.go_on.wait(20)
            report.advance()
        return "through"


def test_one_job_runs_some_wait_and_the_rest_is_refused():
    queue, works = JobQueue(), [Slow() for _ in range(MAX_WAITING + 2)]
    first = queue.add("link", works[0])
    assert works[0].begun.wait(20)
    waiting = [queue.add("link", work) for work in works[1 : MAX_WAITING + 1]]
    with pytest.raises(Busy, match="jobs: too many wait already"):
        queue.add("link", works[-1])
    assert queue.count_states() == {"running": 1, "waiting": MAX_WAITING}
    assert not any(work.begun.is_set() for work in works[1:])
    assert queue.cancel(waiting[0].id).state == "cancelled"
    for work in works:
        work.go_on.set()
    wait_for(lambda: all(job.has_ended for job in queue.list_all()))
    assert not works[1].begun.is_set()
    assert queue.count_states() == {"done": MAX_WAITING, "cancelled": 1}
    job = queue.get(first.id)
    assert (job.done, job.of, job.message) == (3, 3, "through")
    assert [one.id for one in queue.list_all()] == list(range(MAX_WAITING + 1, 0, -1))
    queue.close()
    with pytest.raises(Busy):
        queue.add("link", works[0])


def test_a_running_job_ends_after_its_step():
    queue, work = JobQueue(), Slow()
    job = queue.add("index", work)
    assert work.begun.wait(20)
    assert queue.cancel(job.id).state == "running"
    work.go_on.set()
    wait_for(lambda: queue.get(job.id).has_ended)
    ended = queue.get(job.id)
    assert (ended.state, ended.done) == ("cancelled", 1)
    assert queue.cancel(job.id) == ended, "an ended job stays as it is"
    queue.close()


@pytest.mark.parametrize(
    ("error", "message"),
    [(InputError("a.db: is full"), "a.db: is full"), (ZeroDivisionError(), "a fault of the pro")],
)
def test_a_failed_job_leaves_the_next_one_alone(error, message):
    def fail(report):
        raise error

    queue = JobQueue()
    failed, good = queue.add("link", fail), queue.add("link", lambda report: "good")
    wait_for(lambda: queue.get(good.id).has_ended)
    assert queue.get(failed.id).state == "failed"
    assert queue.get(failed.id).message.startswith(message)
    assert queue.get(good.id).message == "good"
    queue.close()


def test_old_jobs_are_forgotten():
    queue = JobQueue()
    for _ in range(60):
        job = queue.add("link", lambda report: "")
        wait_for(lambda number=job.id: queue.get(number).has_ended)
    assert len(queue.list_all()) == 50
    with pytest.raises(NotFound):
        queue.get(1)
    queue.close()


class SlowPredictor(BlockPredictor):
    """Detector of blocks that takes its time."""

    def detect(self, images):
        time.sleep(0.05)
        return super().detect(images)


def test_a_desk_that_ends_keeps_what_its_job_has_stored(tmp_path):
    with make_gallery(tmp_path) as gallery:
        path = write_video(tmp_path / "new" / "long.avi", [{RED: 40}] * 400)
        gallery.predictor = SlowPredictor()
        options = IndexOptions(rate=10, batch_size=4)
        with serving(gallery, folders=[path.parent], options=options) as url:
            job = httpx2.post(f"{url}api/v1/jobs", json={"kind": "index"}).json()
            followed = []

            def follow():
                address = f"{url}api/v1/jobs/{job['id']}/events"
                followed.append(httpx2.get(address, timeout=60).text)

            follower = threading.Thread(target=follow)
            follower.start()
            wait_for(lambda: gallery.store.count() > 30)
            begin = time.monotonic()
        assert time.monotonic() - begin < 4, "a client that follows does not hold the desk up"
        follower.join(10)
        assert followed and followed[0].startswith("data: ")
        stored = gallery.store.count(Filter(sources=[str(path)]))
        assert 20 < stored < 400
        gallery.predictor = BlockPredictor()
        with make_client(gallery, [path.parent], options) as client:
            job, _ = finish(client, kind="index")
        assert job["state"] == "done" and job["done"] == 400 - stored
        assert gallery.store.count(Filter(sources=[str(path)])) == 400


def test_only_some_clients_follow_at_a_time(gallery):
    """A connection that follows stays open: all of them must not be taken by these."""
    with serving(gallery) as url, httpx2.Client(base_url=f"{url}api/v1/") as client:
        go_on = threading.Event()
        detect = gallery.predictor.detect
        gallery.predictor.detect = lambda images: go_on.wait(20) and detect(images)
        os.utime(gallery.store.sources()[0].path, ns=(1, 1))
        path = f"jobs/{client.post('jobs', json={'kind': 'index'}).json()['id']}/events"
        lines = []  # a reader that is dropped ends its connection
        with contextlib.ExitStack() as stack:
            for _ in range(MAX_FOLLOWERS):
                answer = stack.enter_context(httpx2.stream("GET", f"{url}api/v1/{path}"))
                assert answer.status_code == 200
                lines.append(answer.iter_lines())
                assert next(lines[-1]).startswith("data: ")
            assert client.get(path).status_code == 429
            assert client.get("gallery").status_code == 200
            go_on.set()
        wait_for(lambda: client.get("jobs").json()[0]["state"] == "done")
        wait_for(lambda: client.get(path).status_code == 200)


def test_a_folder_has_to_exist(gallery, tmp_path):
    with pytest.raises(InputError, match=r"footage: .*nowhere is no folder; expected"):
        serve(gallery, port=0, folders=[tmp_path / "nowhere"])
