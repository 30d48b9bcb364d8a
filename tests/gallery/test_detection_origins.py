"""Where detections came from, in both engines: stored, kept, copied and deleted."""

import uuid
from dataclasses import replace

import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import (
    Filter,
    IndexProgress,
    Placement,
    copy_gallery,
    open_store,
)
from clsa_search.gallery.milvus_detections import DetectionTable
from tests.support.store_cases import make_embeddings, make_image, new_store
from tests.support.tracklet_cases import link_by

VIDEO, PHOTO = "v.mp4", "p.jpg"
ROWS = make_embeddings(7)
GIVEN = "9 bytes, boxes 0123456789abcdef"


def draw(source, frame, seed, count=1):
    """Return an image with boxes that somebody drew."""
    image = make_image(make_embeddings(count, seed=seed), source, frame=frame)
    boxes = image.detections.boxes + seed
    time = None if frame is None else float(frame)
    return replace(
        image, detections=replace(image.detections, boxes=boxes), time=time, origin="hand"
    )


def list_origins(store):
    """Return source, frame and origin of each detection."""
    return [(one.source, one.frame, one.origin) for one in store.list()]


@pytest.fixture
def store(store_address):
    """Open a gallery of a video, boxes of a file, and a drawn box in each."""
    with new_store(store_address) as store:
        video = [make_image(ROWS[:2], VIDEO, frame=i, time=float(i)) for i in range(3)]
        photo = make_image(ROWS[:1], PHOTO, origin="file")
        store.add([*video, photo], [IndexProgress(VIDEO, "1"), IndexProgress(PHOTO, GIVEN)])
        store.add([draw(VIDEO, 1, 50), draw(PHOTO, None, 60)])
        yield store


EXPECTED = [
    *[(VIDEO, frame, "model") for frame in (0, 0, 1, 1, 2, 2)],
    (PHOTO, None, "file"),
    (VIDEO, 1, "hand"),
    (PHOTO, None, "hand"),
]


def test_origins_are_stored_and_read(store, store_address):
    with open_store(store_address) as other:
        for one in (store, other):
            assert list_origins(one) == EXPECTED
            drawn = one.list_drawn([VIDEO, PHOTO, "unknown.jpg"])
            assert [(x.source, x.frame, x.origin) for x in drawn] == EXPECTED[-2:]
            assert one.list_drawn([PHOTO]) and not one.list_drawn([])
            assert [x.origin for x in one.scan()] == [x[2] for x in EXPECTED]
            (matches,) = one.search(make_embeddings(1, seed=50), 20)
            best = matches[0].detection
            assert (best.origin, best.frame, best.source) == ("hand", 1, VIDEO)
            tracklet = one.find_tracklets([best.detection_id])[0]
            assert [x.origin for x in one.tracklet_detections(tracklet)] == ["hand"]


def test_an_unknown_origin_is_refused(store):
    with pytest.raises(InputError, match="origin: 'foot'; expected one of model, file, hand"):
        store.add([replace(draw(VIDEO, 1, 1), origin="foot")])
    assert list_origins(store) == EXPECTED


def test_origins_follow_moves_of_files(store):
    store.place(VIDEO, Placement("gate", 1000.0, "given"), "2")
    store.relink(VIDEO, "w.mp4", "3")
    store.relink(PHOTO, "q.jpg", GIVEN)
    names = {VIDEO: "w.mp4", PHOTO: "q.jpg"}
    assert sorted(list_origins(store), key=str) == sorted(
        [(names[one[0]], *one[1:]) for one in EXPECTED], key=str
    )
    (drawn,) = store.list_drawn(["w.mp4"])
    assert (drawn.time, drawn.camera) == (1001.0, "gate")
    assert store.list_drawn([VIDEO, PHOTO]) == []


def test_a_renewed_source_keeps_what_was_drawn(store, store_address):
    drawn = store.list_drawn([VIDEO])
    link_by(store, VIDEO, lambda one: 0)  # the drawn one is a part of a tracklet
    old = {source.path: source for source in store.sources()}
    store.search_tracklets(ROWS, 20)  # readers follow
    renewal = IndexProgress(VIDEO, "2", 1, None, old[VIDEO], keeps_drawn=True)
    store.add([make_image(ROWS[:3], VIDEO, frame=0, time=0.0)], [renewal])
    store.add(
        [make_image(ROWS[:1], VIDEO, frame=2, time=2.0)], [IndexProgress(VIDEO, "2", None, 1)]
    )
    with open_store(store_address) as other:
        for one in (store, other):
            (kept,) = one.list_drawn([VIDEO])
            assert (kept.detection_id, kept.box) == (drawn[0].detection_id, drawn[0].box)
            found = one.list(Filter(sources=[VIDEO]))
            assert sorted((x.frame, x.origin) for x in found) == [
                *[(0, "model")] * 3,
                (1, "hand"),
                (2, "model"),
            ]
            assert one.find_tracklets([kept.detection_id]) == [kept.detection_id]
            (source,) = [x for x in one.sources() if x.path == VIDEO]
            assert source.detections == source.tracklets == 5 and source.is_complete
            ids = one.search_tracklets(ROWS, 20).ids
            assert sorted(ids[0]) == [x.tracklet_id for x in one.tracklets()]
            assert one.count() == 7
    # another file of boxes takes the place of the model's; without keeping, all go
    renewal = IndexProgress(VIDEO, GIVEN, 1, None, source, keeps_drawn=True)
    store.add([make_image(ROWS[:1], VIDEO, frame=0, time=0.0, origin="file")], [renewal])
    assert {(x.frame, x.origin) for x in store.list(Filter(sources=[VIDEO]))} == {
        (0, "file"),
        (1, "hand"),
    }
    (source,) = [x for x in store.sources() if x.path == VIDEO]
    renewal = IndexProgress(VIDEO, "4", None, None, source)
    store.add([make_image(ROWS[:1], VIDEO, frame=1, time=1.0)], [renewal])
    assert [x.origin for x in store.list(Filter(sources=[VIDEO]))] == ["model"]


def test_a_source_without_people_takes_drawn_ones(store):
    store.add([], [IndexProgress("empty.mp4", "1")])
    store.add([draw("empty.mp4", 4, 3)])
    (source,) = [x for x in store.sources() if x.path == "empty.mp4"]
    assert source.detections == 1 and source.is_complete
    assert [x.origin for x in store.list(Filter(sources=["empty.mp4"]))] == ["hand"]
    (old,) = [x for x in store.sources() if x.path == PHOTO]
    renewal = IndexProgress(PHOTO, "2", None, None, old, keeps_drawn=True)
    store.add([], [renewal])  # nobody is found this time
    assert [x.origin for x in store.list(Filter(sources=[PHOTO]))] == ["hand"]


def test_deleted_detections_leave_no_origin(store):
    (drawn,) = store.list_drawn([VIDEO])
    store.delete_detections([drawn.detection_id])
    assert store.list_drawn([VIDEO]) == []
    again = draw(VIDEO, 1, 50)
    store.add([replace(again, origin="model")])  # the same box, found by the model
    assert {one.origin for one in store.list(Filter(sources=[VIDEO]))} == {"model"}
    store.delete(PHOTO)
    store.add([make_image(ROWS[:1], PHOTO)])
    assert [one.origin for one in store.list(Filter(sources=[PHOTO]))] == ["model"]


def test_a_copy_has_the_origins(store, tmp_path):
    address = f"milvus-lite://{tmp_path}/{uuid.uuid4().hex}.db"
    for copy in (tmp_path / "copy.db", address):
        copy_gallery(store, str(copy))
        assert copy_gallery(store, str(copy)).present == len(EXPECTED)
        with open_store(str(copy)) as found:
            assert list_origins(found) == EXPECTED


def test_a_gallery_on_milvus_without_origins_gets_them(milvus_address):
    with new_store(milvus_address) as store:
        images = [make_image(ROWS[:1], PHOTO), make_image(ROWS, VIDEO, frame=0)]
        store.add(images, [IndexProgress(PHOTO, GIVEN), IndexProgress(VIDEO, "1")])
        store._notes.write_state({})  # as an earlier version left it
        ids = [one.detection_id for one in store.list()]
    for _ in range(2):
        with open_store(milvus_address) as store:
            assert [one.origin for one in store.list()] == ["file", *["model"] * 7]
            assert [one.detection_id for one in store.list()] == ids


def test_a_source_on_milvus_with_too_many_drawn_boxes_is_named(milvus_address):
    with new_store(milvus_address) as store:
        store.add([make_image(ROWS, VIDEO, frame=0)], [IndexProgress(VIDEO, "1")])
        store.add([draw(VIDEO, 0, 50, count=400)])
        for _ in range(2):
            with pytest.raises(InputError, match="v.mp4: has too many detections drawn by hand"):
                store.add([draw(VIDEO, 1, 60, count=2000)])
            assert store.count() == 407 and len(store.list_drawn([VIDEO])) == 400


@pytest.mark.parametrize("step", ["add_singles", "delete", "count", "commit"])
def test_an_interrupted_renewal_on_milvus_keeps_what_was_drawn(milvus_address, monkeypatch, step):
    with new_store(milvus_address) as store:
        video = [make_image(ROWS[:2], VIDEO, frame=i, time=float(i)) for i in range(3)]
        store.add([*video], [IndexProgress(VIDEO, "1")])
        store.add([draw(VIDEO, 1, 50)])
        link_by(store, VIDEO, lambda one: 0)
        (old,) = store.sources()
        renewal = IndexProgress(VIDEO, "2", None, None, old, keeps_drawn=True)
        owner = {
            "add_singles": store._detections.tracklets,
            "commit": store._sources,
        }.get(step, DetectionTable)

        def fail(*args, **options):
            raise InputError("the cable was pulled")

        with monkeypatch.context() as patch:
            patch.setattr(owner, step, fail)
            with pytest.raises(InputError, match="cable"):
                store.add([make_image(ROWS[:1], VIDEO, frame=0, time=0.0)], [renewal])
        (left,) = store.sources()
        assert not left.is_complete
    with new_store(milvus_address) as store:
        # the file is indexed with the options of before, from its begin
        again = IndexProgress(VIDEO, left.fingerprint, None, left.next_frame)
        store.add([make_image(ROWS[:1], VIDEO, frame=0, time=0.0)], [again])
        found = store.list()
        assert sorted((one.frame, one.origin) for one in found) == [(0, "model"), (1, "hand")]
        (source,) = store.sources()
        assert source.detections == 2 and source.is_complete
        assert store.count_tracklets() == 2
