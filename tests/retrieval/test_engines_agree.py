"""Milvus gives the same answers as SQLite, from new processes too."""

import json
import os
import subprocess
import sys
import uuid

import numpy as np
import pytest

from clsa_search.gallery import open_store
from clsa_search.retrieval import Indexer, IndexOptions
from clsa_search.retrieval.deletions import DeletionSelector, plan_deletion, run_deletion
from clsa_search.retrieval.gallery_calibration import calibrate_gallery
from clsa_search.retrieval.retention import set_retention
from clsa_search.retrieval.watch_list import add_person, judge_sighting
from tests.support.coded_footage import CodedPredictor, embed_person, write_clip
from tests.support.engine_answers import PERSON, describe_answers, name_sighting
from tests.support.sighting_cases import DAY
from tests.support.tiny import ROOT

CAMERAS = "east", "north", "south"
SLOTS = 8  # people of a clip: 28 pairs of certain strangers


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    """Clips of three cameras with many people; one of them is in each second clip."""
    folder = tmp_path_factory.mktemp("cameras")
    rng = np.random.default_rng(3)
    for number in range(22):
        people = rng.choice(np.arange(30, 120), SLOTS, replace=False).tolist()
        if number % 2 == 0:
            people[1] = PERSON
        write_clip(folder / CAMERAS[number % 3], DAY + 300 * number, people, 2, width=192)
    return folder


def fill(address, footage):
    """Index, calibrate, judge, watch, erase: everything that changes answers."""
    options = IndexOptions(
        camera_from="folder", time_from="name:%Y%m%dT%H%M%S", zone="UTC", batch_size=64
    )
    with open_store(address, weights=CodedPredictor.weights_sha256, create=True) as store:
        indexer = Indexer(CodedPredictor(), store, options)
        indexer.plan([footage])
        indexer.run()
        assert calibrate_gallery(store, [["east", "north", "south"]]).tail is not None
        set_retention(store, {"north": 0.9, "*": 0.95})
        add_person(store, "Ann", embed_person(PERSON)[None].astype(np.float32))
        found = [
            one
            for one in store.tracklets(embeddings=True)
            if one.embedding @ embed_person(PERSON) > 0.95
        ]
        found.sort(key=name_sighting)
        for one in found[:4]:
            judge_sighting(store, "Ann", one.tracklet_id, "same")
        judge_sighting(store, "Ann", found[4].tracklet_id, "other")
        plan = plan_deletion(store, DeletionSelector(sightings=[found[5].tracklet_id]))
        assert run_deletion(store, plan, erase=True).detections == 2


def test_milvus_answers_as_sqlite(tmp_path, footage, milvus_server):
    addresses = str(tmp_path / "gallery.db"), f"{milvus_server}/agree_{uuid.uuid4().hex}"
    answers = []
    for address in addresses:
        fill(address, footage)
        here = json.loads(json.dumps(describe_answers(address)))
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.engine_answers", address],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == here
        answers.append(here)
    first = answers[0]
    assert [row[3] for row in first["all"][2]] == ["very likely"] * 6
    assert first["counts"] == [350, 175, 22] and first["stranger"] != first["all"]
    assert first["people"]["Ann"] != [] and first["nothing"][0] == 0
    assert first["time"][0] < first["all"][0] and first["deletion"][0] and first["retention"][0]
    for other in answers[1:]:
        for name, value in first.items():
            assert other[name] == value, name
