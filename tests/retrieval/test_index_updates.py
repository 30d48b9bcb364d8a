"""Options in fingerprints are read again as they were written."""

import pytest

from clsa_search.gallery import open_store
from clsa_search.retrieval import Indexer, IndexOptions
from clsa_search.retrieval.index_updates import read_options, update_gallery
from tests.support.footage import BlockPredictor, write_image, write_video

CASES = [
    {},
    {"rate": 5},
    {"rate": 0.2, "camera": "gate"},
    {"camera": 'it\'s a "gate", camera None 2/s'},
    {"camera": "back\\slash, boxes 1"},
    {"camera_from": "folder"},
    {"camera_from": "name:^(cam[0-9]+)_"},
    {"start_time": 1_777_000_000.5},
    {"start_time": -90.0},
    {"time_from": "name:%Y%m%d_%H%M%S"},
    {"time_from": "name:%Y%m%d %H%M%S,exif", "zone": "Europe/Berlin"},
    {"time_from": "name:%Y%m%d %H%M%S,none"},
    {"time_from": "mtime", "zone": "UTC", "in_sequence": True},
    {"time_from": "container,mtime", "in_sequence": True, "camera": "a"},
]


@pytest.fixture
def folder(tmp_path):
    write_image(tmp_path / "media" / "cam1_20260501 120000_20260501_120000.png", {0: 10})
    write_video(tmp_path / "media" / "cam1_20260501 120000_20260501_120000.avi", [{1: 20}] * 10)
    return tmp_path / "media"


def index(folder, options):
    store = open_store(folder.parent / "a.db", weights=BlockPredictor.weights_sha256, create=True)
    indexer = Indexer(BlockPredictor(), store, options)
    indexer.plan([folder])
    indexer.run()
    return store


@pytest.mark.parametrize("options", CASES)
def test_stored_options_are_read_again(folder, options):
    given = IndexOptions(**options)
    with index(folder, given) as store:
        assert store.sources()
        for source in store.sources():
            found = read_options(source, IndexOptions())
            assert found is not None and not found.has_given_boxes
            assert source.fingerprint.startswith(f"{found.state}, score {found.min_score}")
            again = Indexer(BlockPredictor(), store, found.options)
            again.plan([source.path])
            assert again.report.skipped == 1, "the same options make the same fingerprint"
            if not source.path.endswith(".png"):
                assert found.options == given


@pytest.mark.parametrize("fingerprint", [None, "", "sha256 of 12 bytes", "5 bytes of 1, score 0.5"])
def test_other_fingerprints_tell_nothing(folder, fingerprint):
    with index(folder, IndexOptions()) as store:
        (source, *_) = store.sources()
        known = read_options(source, IndexOptions())
        assert known is not None
        changed = type(source)(**vars(source) | {"fingerprint": fingerprint})
        assert read_options(changed, IndexOptions()) is None


def test_a_sequence_whose_start_is_not_written_is_left_to_the_command(folder):
    options = IndexOptions(start_time=1_777_000_000.0, in_sequence=True)
    with index(folder, options) as store:
        (video,) = [one for one in store.sources() if one.path.endswith(".avi")]
        assert read_options(video, IndexOptions()) is None
        write_video(folder / video.path.rpartition("/")[2], [{1: 20}] * 20)
        report = update_gallery(BlockPredictor(), store, [video.path], IndexOptions())
        ((path, reason),) = report.problems
        assert path == video.path and "its options are not known; expected `clsa-sea" in reason


def test_a_new_clip_of_a_sequence_follows_the_ones_before(folder, tmp_path):
    options = IndexOptions(time_from="name:%Y%m%d_%H%M%S,none", in_sequence=True, zone="UTC")
    for path in folder.iterdir():
        path.unlink()
    first = write_video(folder / "20260501_120000.avi", [{1: 20}] * 20)
    with index(folder, options) as store:
        second = write_video(folder / "b.avi", [{1: 20}] * 20)
        report = update_gallery(BlockPredictor(), store, [str(first), str(second)], options)
        assert (report.images, report.skipped, report.problems) == (2, 1, [])
        starts = {source.path: source.start for source in store.sources()}
        assert starts[str(second)] - starts[str(first)] == pytest.approx(2.0)
