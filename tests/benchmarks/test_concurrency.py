"""Readers beside writers: no error, no wrong answer; the checks see what is wrong."""

import numpy as np
import pytest

from benchmarks.speed.concurrency import (
    Outcome,
    add_source,
    check_detections,
    check_sightings,
    check_state,
    embed,
    run,
)
from clsa_search.gallery import open_store


@pytest.mark.parametrize(("engine", "readers", "writers"), [("sqlite", 3, 2), ("milvus", 2, 1)])
def test_readers_beside_writers_get_right_answers(request, tmp_path, engine, readers, writers):
    address = str(tmp_path / "gallery.db")
    if engine == "milvus":
        address = f"{request.getfixturevalue('milvus_server')}/concurrency"
    outcomes = run(address, readers, writers, seconds=4, files=8)
    assert [fault for one in outcomes for fault in one.faults] == []
    assert all(one.counts["searches"] for one in outcomes[:readers])
    assert all(one.counts["files added"] for one in outcomes[readers:])


def test_wrong_answers_are_seen(tmp_path):
    with open_store(tmp_path / "gallery.db", weights="c" * 64, create=True) as store:
        for number in range(3):
            add_source(store, f"kept_{number}.mp4", number)
        query = embed("kept_0.mp4", 0, 0)
        matches = store.search(query[None], 20)[0]
        rows = np.array([one.detection.embedding for one in matches])
        right, wrong = Outcome(), Outcome()
        check_detections(matches, query, rows, right)
        check_state(store, query, right)
        assert right.faults == []
        check_detections(matches[::-1], query, rows, wrong)
        check_detections(matches[1:], query, rows, wrong)
        check_sightings([], query, "kept_0.mp4", wrong)
        store.delete_detections([store.list()[-1].detection_id])
        check_state(store, query, wrong)
    assert wrong.faults == [
        "20 matches, or not in order",
        "19 matches, or not in order",
        "kept_0.mp4: is not the best sighting of its person",
        "a file that is not whole",
    ]
