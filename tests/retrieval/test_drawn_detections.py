"""Boxes that somebody drew: stored, refused, kept when their file is indexed again."""

import os

import numpy as np
import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, StoredDetection, open_store
from clsa_search.retrieval import Indexer, IndexOptions
from clsa_search.retrieval.deletions import DeletionSelector, plan_deletion, run_deletion
from clsa_search.retrieval.drawn_detections import DrawnFrame, add_drawn, drop_drawn
from clsa_search.retrieval.gallery_calibration import calibrate_gallery
from clsa_search.retrieval.sighting_rows import list_rows, write_csv
from clsa_search.structures import ImageDetections
from tests.support.footage import BlockPredictor, draw_blocks, write_image, write_video
from tests.support.old_galleries import change

BOX = (60, 20, 74, 60)


class Blind(BlockPredictor):
    """A detector that sees only the first person of an image."""

    def _detect_one(self, image, detections=None):
        return super()._detect_one(image, detections)[:1]


@pytest.fixture
def store(store_address):
    weights = BlockPredictor.weights_sha256
    with open_store(store_address, weights=weights, create=True) as store:
        yield store


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "door.avi", [{0: 10, 2: 60}] * 40)


def index(store, path, predictor=None, **options):
    indexer = Indexer(predictor or Blind(), store, IndexOptions(camera="door", **options))
    indexer.plan([path])
    indexer.run()
    return indexer.report


def draw(store, path, box=BOX, frame=10, blocks=None):
    seconds = None if frame is None else frame / 10
    image = draw_blocks(blocks or {0: 10, 2: 60})
    return add_drawn(store, BlockPredictor(), DrawnFrame(str(path), frame, seconds, image), box)


def list_found(store, path):
    found = store.list(Filter(sources=[str(path)]))
    return sorted((one.frame or 0, one.origin, round(one.box[0])) for one in found)


def test_a_drawn_box_is_found_and_belongs_to_a_sighting(store, video):
    index(store, video)
    before = store.tracklets()
    one = draw(store, video)
    assert (one.frame, one.time, one.camera, one.score, one.origin) == (
        10,
        1.0,
        "door",
        1.0,
        "hand",
    )
    assert one.box == BOX
    other = draw(store, video, frame=20)
    tracklets = {x.tracklet_id: x for x in store.tracklets()}
    assert [tracklets[x.tracklet_id] for x in before] == before
    (sighting,) = set(store.find_tracklets([one.detection_id, other.detection_id]))
    assert sighting == one.detection_id and tracklets[sighting].detections == 2
    assert store.unlinked() == [] and store.count() == 6
    ((match, *_),) = store.search(BlockPredictor().embed(draw_blocks({2: 60}), [BOX]), 3)
    assert match.detection.origin == "hand"
    (row,) = list_rows(store, [sighting])
    assert row.best.origin == "hand" and b",hand\r\n" in write_csv([row])
    (source,) = store.sources()
    assert (source.detections, source.tracklets) == (6, 2)


def test_wrong_boxes_are_refused(store, video):
    index(store, video)
    number = store.list(Filter(since=1.0, until=1.0))[0].detection_id
    for box, words in (
        ((11, 20, 24, 62), rf"box: .* shows detection {number} of this frame \(IoU 0\.\d\d\)"),
        ((96, 0, 120, 20), "box: .*inside the image of 96 x 72"),
        ((10, 10, 10, 30), "box: .*expected x1 < x2 and y1 < y2"),
        ((10, np.nan, 30, 30), "box: .*expected x1 < x2 and y1 < y2"),
    ):
        with pytest.raises(InputError, match=words):
            draw(store, video, box)
    one = draw(store, video)
    with pytest.raises(InputError, match=f"shows detection {one.detection_id} of this frame"):
        draw(store, video)
    with pytest.raises(InputError, match="none.avi is not indexed"):
        draw(store, "none.avi")
    assert draw(store, video, (-5, 60, 10, 80)).box == (0, 60, 10, 72)  # cut at the borders
    assert store.count() == 6


def test_an_erased_person_is_not_drawn_again(store, video):
    index(store, video)
    one = draw(store, video)
    selector = DeletionSelector(sightings=store.find_tracklets([one.detection_id]))
    run_deletion(store, plan_deletion(store, selector), erase=True)
    assert store.list_drawn([str(video)]) == []
    with pytest.raises(InputError, match="box: .* at a place of somebody who was erased"):
        draw(store, video)
    index(store, video, BlockPredictor(), rate=2)
    assert {left for frame, _, left in list_found(store, video) if frame == 10} == {10}


@pytest.mark.parametrize("seen", [False, True])
def test_a_file_that_is_indexed_again_keeps_drawn_boxes_once(store, video, seen):
    """Whether the detector sees the person this time or not."""
    index(store, video)
    one = draw(store, video)
    report = index(store, video, BlockPredictor() if seen else Blind(), rate=2, start_time=1000)
    assert not report.problems
    (kept,) = store.list_drawn([str(video)])
    assert (kept.detection_id, kept.time, kept.camera) == (one.detection_id, 1001.0, "door")
    rows = list_found(store, video)
    assert [row for row in rows if row[0] == 10] == [(10, "hand", 60), (10, "model", 10)]
    assert len(rows) == (16 if seen else 9)
    tracklets = {
        x: len(store.tracklet_detections(x)) for x in store.find_tracklets([one.detection_id])
    }
    assert [*tracklets.values()] == ([8] if seen else [1])
    assert store.unlinked() == []


def test_a_file_that_has_changed_loses_drawn_boxes_and_says_so(store, tmp_path):
    path = write_image(tmp_path / "a.png", {0: 10, 2: 60})
    index(store, path)
    draw(store, path, frame=None)
    write_image(path, {0: 10, 2: 60})
    os.utime(path, (1, 1))
    ((name, reason),) = index(store, path).problems
    assert name == str(path)
    assert reason.endswith("1 detection drawn by hand in its earlier frames deleted")
    assert list_found(store, path) == [(0, "model", 10)]
    assert not index(store, path).problems


def test_drawn_boxes_are_no_certain_strangers(tmp_path):
    """A head, drawn beside the box of its body, is nobody else."""
    weights = BlockPredictor.weights_sha256
    with open_store(tmp_path / "g.db", weights=weights, create=True) as store:
        path = write_image(tmp_path / "a.png", {0: 10, 2: 60})
        index(store, path, BlockPredictor())
        pairs = calibrate_gallery(store).pairs
        draw(store, path, (11, 12, 23, 22), frame=None)
        assert calibrate_gallery(store).pairs == pairs == 1


def test_imported_boxes_are_told(store, tmp_path):
    from clsa_search.data.detections_files import read_detections
    from clsa_search.data.given_detections import select_boxes
    from clsa_search.retrieval.source_files import list_media

    path = write_image(tmp_path / "a.png", {0: 10, 2: 60})
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.18 0.56 0.15 0.56 0.9\n")
    media = list_media([path])
    files, _ = read_detections(tmp_path / "labels").assign(media.images, media.videos)
    boxes = {name: select_boxes(given, 0.5) for name, given in files.items()}
    indexer = Indexer(BlockPredictor(), store, IndexOptions(), boxes)
    indexer.plan([path])
    indexer.run()
    assert [row[1] for row in list_found(store, path)] == ["file"]
    draw(store, path, frame=None)
    index(store, path)  # by the model
    assert [row[1] for row in list_found(store, path)] == ["hand", "model"]


def test_a_drawn_box_hides_one_person_only():
    boxes = np.array([[0, 0, 40, 80], [2, 0, 42, 80], [100, 0, 140, 80]], np.float32)
    found = ImageDetections(boxes, np.full(3, 0.9, np.float32), np.eye(3, dtype=np.float32))
    drawn = [
        StoredDetection(i, "a.png", None, None, None, box, 1.0, np.ones(3), "hand")
        for i, box in enumerate([(2, 0, 42, 80), (300, 0, 340, 80)])
    ]
    assert drop_drawn(found, drawn).boxes.tolist() == boxes[[0, 2]].tolist()
    assert drop_drawn(found, drawn[:1] * 2).boxes.tolist() == boxes[2:].tolist()


def test_damaged_drawn_boxes_leave_their_file_and_no_other(tmp_path, video):
    address = tmp_path / "gallery.db"
    other = write_video(tmp_path / "yard.avi", [{0: 10}] * 10)
    with open_store(address, weights=BlockPredictor.weights_sha256, create=True) as store:
        index(store, video)
        index(store, other)
        draw(store, video)
    change(address, "UPDATE detections SET x0 = x0 + 1 WHERE origin = 'hand'")
    with open_store(address, weights=BlockPredictor.weights_sha256) as store:
        indexer = Indexer(Blind(), store, IndexOptions(camera="door", rate=5))
        indexer.plan([video, other])
        indexer.run()
        ((path, reason),) = indexer.report.problems
        assert path == str(video) and "is damaged" in reason
        assert f"`clsa-search delete {address} {video} --yes`" in reason
        assert {one.path for one in store.sources()} == {str(video), str(other)}
        assert indexer.report.images == 5
