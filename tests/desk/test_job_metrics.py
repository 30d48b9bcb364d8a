"""Numbers of a run of the desk: /metrics and its token."""

import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")

from clsa_search.desk.desk_metrics import Metrics
from clsa_search.desk.tokens import Keyring
from tests.support.desk_cases import make_client, search
from tests.support.job_cases import finish, make_job_client


@pytest.fixture
def client(gallery, tmp_path):
    """A client of a desk that may look for files in the folder of the footage."""
    with make_job_client(gallery, tmp_path / "media") as client:
        yield client


def read_metrics(client):
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_the_numbers_of_a_run(client):
    search(client, [{"detection": 1}])
    for path in ("detections/1", "detections/2", "detections/99", "nothing/at/all"):
        client.get(f"/api/v1/{path}")
    client.get("/", headers={"host": "evil.example"})
    finish(client, kind="calibrate")
    numbers = read_metrics(client)
    requests = {
        name.partition("{")[2]: value for name, value in numbers.items() if "_requests_" in name
    }
    route = 'route="/api/v1/detections/{detection_id}"'
    assert requests[f'method="GET",{route},status="200"}}'] == 2
    assert requests[f'method="GET",{route},status="404"}}'] == 1
    assert requests['method="GET",route="other",status="404"}'] == 1
    assert requests['method="GET",route="other",status="403"}'] == 1
    assert numbers["clsa_search_search_seconds_count"] == 1
    assert numbers['clsa_search_search_seconds_bucket{le="+Inf"}'] == 1
    assert numbers["clsa_search_search_seconds_sum"] > 0
    assert numbers["clsa_search_gallery_detections"] == 9
    assert numbers["clsa_search_gallery_sightings"] == 5
    assert numbers["clsa_search_gallery_sources"] == 3
    assert numbers['clsa_search_jobs{state="done"}'] == 1


def test_numbers_need_the_token(gallery):
    token = "0123456789abcdef-secret"
    with make_client(gallery, keyring=Keyring(token)) as client:
        assert client.get("/metrics").status_code == 401
        head = {"authorization": f"Bearer {token}"}
        assert client.get("/metrics", headers=head).status_code == 200


def test_the_bounds_of_search_seconds_add_up():
    metrics = Metrics()
    for seconds in (0.001, 0.01, 0.02, 0.3, 99.0):
        metrics.count_search(seconds)
    metrics.count_request('PUR"GE', "other", 405)
    text = metrics.write({}, {})
    counts = [line.rsplit(" ", 1)[1] for line in text.splitlines() if "_bucket" in line]
    assert counts == ["2", "3", "3", "3", "3", "4", "4", "4", "4", "5"]
    assert 'clsa_search_requests_total{method="other",route="other",status="405"} 1' in text
