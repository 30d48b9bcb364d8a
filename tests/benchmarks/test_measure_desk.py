"""The measurement of the desk, over a small gallery."""

import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")

from benchmarks.desk.large_gallery import open_large_gallery
from benchmarks.desk.measure_desk import measure
from clsa_search.gallery import open_store


def test_every_request_is_timed(tmp_path):
    path = tmp_path / "a.db"
    open_large_gallery(path, sightings=61, length=3, files=8, width=16)
    with open_store(path) as store:
        assert (store.count(), store.count_tracklets()) == (183, 61)
        assert store.unlinked() == [] and len(store.cameras()) == 8
        assert {one.purity for one in store.tracklets()} == {0.8}
    rows = measure(path, repeat=1, pause=0.0)
    assert {len(seconds) for name, seconds in rows.items() if "load" in name} == {1}
    assert len(rows["search"]) == len(rows["deletion of a sighting"]) == 3
    assert all(one > 0 for seconds in rows.values() for one in seconds)
    with open_store(path) as store:
        assert store.count_tracklets() == 58
