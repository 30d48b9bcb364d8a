"""Jobs of the desk: started, followed to their end, slow ones."""

import json
import time

import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")

from clsa_search.retrieval.index_options import IndexOptions
from tests.support.desk_cases import make_client


def start(client, status=201, **request):
    answer = client.post("/api/v1/jobs", json=request)
    assert answer.status_code == status, answer.text
    return answer.json()


def finish(client, **request):
    """Run a job; return it at its end, and what was sent of it on the way."""
    number = start(client, **request)["id"]
    answer = client.get(f"/api/v1/jobs/{number}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data")]
    assert events[-1] == client.get(f"/api/v1/jobs/{number}").json()
    return events[-1], events


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


def make_job_client(gallery, folder):
    """Return a client of a desk that may look for files in a folder."""
    return make_client(gallery, [folder], IndexOptions(camera_from="folder", rate=5))
