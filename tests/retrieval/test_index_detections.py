"""Indexing with the boxes of another detector."""

import pytest

from clsa_search.data.detections_files import read_detections
from clsa_search.data.given_detections import select_boxes
from clsa_search.gallery import open_store
from clsa_search.retrieval import Indexer, IndexOptions
from clsa_search.retrieval.source_files import list_media
from tests.support.footage import BlockPredictor, write_image, write_video


class NoDetector(BlockPredictor):
    """A predictor that only embeds given boxes, and may die after some images."""

    def __init__(self, lifetime=1000):
        super().__init__()
        self.lifetime = lifetime

    def prepare(self, image, detections=None):
        assert detections is not None
        return super().prepare(image, detections)

    def detect(self, images):
        if self.num_images + len(images) > self.lifetime:
            raise KeyboardInterrupt
        return super().detect(images)


def open_gallery(folder):
    return open_store(folder / "gallery.db", weights=BlockPredictor.weights_sha256, create=True)


def index(store, detections, *paths, predictor=None, **options):
    """Index with detections; return the report, the estimate and the calls of the predictor."""
    media = list_media(paths)
    files, _ = read_detections(detections).assign(media.images, media.videos)
    boxes = {path: select_boxes(given, 0.5) for path, given in files.items()}
    predictor = predictor or NoDetector()
    options = IndexOptions(**{"rate": 1000.0} | options)
    indexer = Indexer(predictor, store, options, boxes)
    expected = indexer.plan(paths)
    indexer.run()
    return indexer.report, expected, predictor.num_images


def list_rows(store):
    return sorted((d.source.rsplit("/", 1)[1], d.frame, d.score, *d.box) for d in store.scan())


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "door.avi", [{0: 10}] * 50)


def write_lines(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_only_frames_with_boxes_are_decoded(video, tmp_path):
    detections = write_lines(
        tmp_path / "det.txt",
        *("1,-1,10,20,14,40,1", "7,-1,10,20,14,40,0.5", "7,-1,-4,60,10,40,0.75"),
        *("20,-1,10,20,14,40,0.25", "50,-1,200,20,14,40,1"),
    )
    with open_gallery(tmp_path) as store:
        report, expected, images = index(store, detections, video)
        assert (report.images, report.detections, report.problems) == (3, 3, [])
        assert expected == images == 3
        assert list_rows(store) == [
            ("door.avi", 0, 1.0, 10, 20, 24, 60),
            ("door.avi", 6, 0.5, 10, 20, 24, 60),
            ("door.avi", 6, 0.75, 0, 60, 6, 72),
        ]
        times = sorted({d.time for d in store.scan()})
        assert times == pytest.approx([0, 0.6])
        assert index(store, detections, video)[0].skipped == 1


def test_a_rate_limits_the_frames_with_boxes(video, tmp_path):
    lines = [f"{frame},-1,10,20,14,40,1" for frame in range(3, 51)]
    detections = write_lines(tmp_path / "det.txt", *lines)
    with open_gallery(tmp_path) as store:
        index(store, detections, video, rate=1.0)
        assert [frame for _, frame, *_ in list_rows(store)] == [2, 10, 20, 30, 40]


def test_other_detections_index_a_file_again(video, tmp_path):
    detections = write_lines(tmp_path / "det.txt", "1,-1,10,20,14,40,1", "7,-1,10,20,14,40,1")
    with open_gallery(tmp_path) as store:
        index(store, detections, video)
        write_lines(detections, "3,-1,10,20,14,40,1")
        report, *_ = index(store, detections, video)
        assert report.skipped == 0 and [row[1] for row in list_rows(store)] == [2]
        write_lines(detections, "3,-1,10,20,14,40,0.2")
        report, _, images = index(store, detections, video)
        assert (report.problems, images, list_rows(store)) == ([], 0, [])
        assert index(store, detections, video)[0].skipped == 1


@pytest.mark.parametrize("batch_size", [1, 4])
def test_interrupted_runs_continue(video, tmp_path, batch_size):
    lines = [f"{frame},-1,10,20,14,40,1" for frame in range(2, 40, 3)]
    detections = write_lines(tmp_path / "det.txt", *lines)
    with open_gallery(tmp_path) as store:
        images = 0
        for lifetime in (2, 5, 4, 100):
            predictor = NoDetector(lifetime)
            try:
                index(store, detections, video, predictor=predictor, batch_size=batch_size)
            except KeyboardInterrupt:
                pass
            images += predictor.num_images
        assert [row[1] for row in list_rows(store)] == list(range(1, 39, 3))
        assert images == 13


def test_frames_after_the_end_are_a_problem_of_the_file(video, tmp_path):
    detections = write_lines(tmp_path / "det.txt", "1,-1,10,20,14,40,1", "90,-1,10,20,14,40,1")
    with open_gallery(tmp_path) as store:
        report, *_ = index(store, detections, video)
        ((path, reason),) = report.problems
        assert path == str(video)
        assert reason == (f"{video}: ends after 50 frames; expected frame 90, which has detections")
        assert len(list_rows(store)) == 1


def test_images_and_videos_take_yolo_labels(video, tmp_path):
    media = tmp_path / "media"
    write_image(media / "a/1.png", {1: 24})
    write_image(media / "b/1.png", {2: 48}, size=(192, 72))
    write_image(media / "b/none.png", {2: 48})
    (media / "door.avi").write_bytes(video.read_bytes())
    labels = tmp_path / "labels"
    for folder in ("a", "b"):
        (labels / folder).mkdir(parents=True)
        write_lines(labels / folder / "1.txt", "0 0.25 0.5 0.125 0.5 0.75")
    write_lines(labels / "door_4.txt", "0 0.125 0.5 0.125 0.5")
    with open_gallery(tmp_path) as store:
        report, expected, images = index(store, labels, media)
        assert expected == images == report.images == 3
        assert list_rows(store) == [
            ("1.png", None, 0.75, 18, 18, 30, 54),
            ("1.png", None, 0.75, 36, 18, 60, 54),
            ("door.avi", 3, 1.0, 6, 18, 18, 54),
        ]
        assert index(store, labels, media)[0].skipped == 4
