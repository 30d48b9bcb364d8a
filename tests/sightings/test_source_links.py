"""Linking the sources of a gallery: repeated, interrupted, clip by clip."""

import itertools
import multiprocessing
import random
import time

import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, IndexProgress, open_store
from clsa_search.sightings.ranking_tracklets import search_tracklets
from clsa_search.sightings.source_links import link_source, link_sources
from tests.support.link_cases import look, make_clip
from tests.support.store_cases import make_image, new_store
from tests.support.tracklet_cases import describe

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["clsa_search.sightings.source_links", "pytest"])
START = 1.8e9  # a date
ANN, BOB = look(1, 0, 0.1), look(0, 1, 0.1)


def walk(seconds):
    """Ann walks to the right all the time; Bob stands there for the first 70 seconds."""
    after = seconds - START
    return [(10 * after, ANN), *([(3000.0, BOB)] if after < 70 else [])]


CLIPS = [
    make_clip(walk, f"clip_{number}.mp4", 60, START + 60 * number, fps=1) for number in range(3)
]


def answer(store):
    return [describe(one) for one in store.tracklets(embeddings=True)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_people_are_followed_from_clip_to_clip(tmp_path, order):
    with new_store(tmp_path / "gallery.db") as store:
        for images in CLIPS:
            store.add(images)
        for number in order:
            link_source(store, f"clip_{number}.mp4")
        tracklets = store.tracklets()
        assert [(one.source, one.detections) for one in tracklets] == [
            ("clip_0.mp4", 60),
            ("clip_0.mp4", 60),
            ("clip_1.mp4", 60),
            ("clip_1.mp4", 10),
            ("clip_2.mp4", 60),
        ]
        ann, bob = tracklets[0].tracklet_id, tracklets[1].tracklet_id
        assert [one.chain for one in tracklets] == [ann, bob, ann, bob, ann]
        first, second = search_tracklets(store, ANN, 10)
        assert first.similarity == pytest.approx(1, abs=1e-6)
        assert (first.tracklet.first, first.tracklet.last) == (START, START + 179)
        assert (first.tracklet.detections, second.tracklet.detections) == (180, 70)


def test_linking_again_changes_nothing(store_address):
    with new_store(store_address) as store:
        store.add([image for images in CLIPS[:2] for image in images])
        assert link_sources(store, store.unlinked()) == []
        expected = answer(store)
        assert store.unlinked() == []
        link_sources(store, [f"clip_{number}.mp4" for number in (1, 0, 0)])
        assert answer(store) == expected
        store.reset_tracklets()
        assert store.count_tracklets() == 60 + 60 + 60 + 10
        link_sources(store, store.unlinked())
        assert answer(store) == expected


def test_a_clip_of_another_camera_or_day_is_not_continued(tmp_path):
    with new_store(tmp_path / "gallery.db") as store:
        for name, camera, start in (
            ("a.mp4", "door", START),
            ("b.mp4", "yard", START + 60),
            ("c.mp4", "door", START + 90),
            ("d.mp4", None, START),
            ("e.mp4", None, START + 60),
        ):
            store.add(make_clip(lambda _: [(0.0, ANN)], name, 60, start, camera))
        # times within videos: each begins at 0
        store.add(make_clip(lambda _: [(0.0, ANN)], "f.mp4", 60, 0.0, "gate"))
        store.add(make_clip(lambda _: [(0.0, ANN)], "g.mp4", 60, 60.0, "gate"))
        link_sources(store, store.unlinked())
        assert all(one.chain == one.tracklet_id for one in store.tracklets())


def test_sources_without_detections_and_unknown_ones(tmp_path):
    with new_store(tmp_path / "gallery.db") as store:
        store.add([], [IndexProgress("empty.mp4", "1")])
        assert link_source(store, "empty.mp4") == 0
        ((path, reason),) = link_sources(store, ["gone.mp4"])
        assert path == "gone.mp4" and "gone.mp4: is not indexed" in reason


def test_a_source_that_changes_meanwhile_is_linked_again(tmp_path, monkeypatch):
    path = tmp_path / "gallery.db"
    with new_store(path) as store, new_store(path) as other:
        store.add(CLIPS[0][:30])
        list_once = type(store).list
        calls = []

        def add_late(self, *args, **options):
            found = list_once(self, *args, **options)
            if not calls:
                calls.append(1)
                other.add(CLIPS[0][30:])
            return found

        monkeypatch.setattr(type(store), "list", add_late)
        assert link_sources(store, ["clip_0.mp4"]) == []
        assert store.unlinked() == []
        assert [one.detections for one in store.tracklets()] == [60, 60]


def link_all(path, linked):
    with open_store(path) as store:
        link_sources(store, store.unlinked(), lambda source, count: linked.send(source))


def test_a_killed_link_loses_nothing(tmp_path):
    path, chance = tmp_path / "gallery.db", random.Random(0)
    with new_store(path) as store:
        for number in range(40):
            store.add(make_clip(walk, f"{number:02}.mp4", 60, START, f"camera {number}"))
        count = store.count()
        link_sources(store, store.unlinked())
        expected = answer(store)
        store.reset_tracklets()
    for _ in range(5):
        receiver, sender = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=link_all, args=(path, sender))
        process.start()
        sender.close()
        try:
            receiver.recv()  # it is at work
        except EOFError:  # everything is linked
            break
        time.sleep(chance.uniform(0, 0.02))
        process.kill()
        process.join(60)
        with open_store(path) as store:
            assert store.count() == count
            held = sum(one.detections for one in store.tracklets())
            assert held == count
            found = store.search_tracklets(ANN[None], 10**6).ids
            assert found.shape[1] == store.count_tracklets()
    with open_store(path) as store:
        assert link_sources(store, store.unlinked()) == []
        assert answer(store) == expected


def test_frames_of_photographs_stay_single(store_address):
    with new_store(store_address) as store:
        store.add([make_image(ANN[None], f"{number}.jpg") for number in range(3)])
        assert store.unlinked() == []
        assert link_source(store, "1.jpg") == 1
        matches = search_tracklets(store, ANN, 10, Filter(sources=["0.jpg", "1.jpg"]))
        assert [one.tracklet.detections for one in matches] == [1, 1]
        assert search_tracklets(store, ANN, 10, Filter(sources=["9.jpg"])) == []


def test_an_unknown_tracklet_is_refused(tmp_path):
    with new_store(tmp_path / "gallery.db") as store, pytest.raises(InputError, match="sighting 5"):
        store.tracklet_detections(5)
