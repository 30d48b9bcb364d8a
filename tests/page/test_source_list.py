"""The list of indexed files and their detections."""

import pytest

pytest.importorskip("gradio", reason="the page is built with Gradio, which is not installed")

from clsa_search.errors import InputError
from clsa_search.page import source_list
from tests.support.page_cases import make_gallery


@pytest.fixture
def store(tmp_path):
    with make_gallery(tmp_path) as gallery:
        yield gallery.store


def test_indexed_files_are_listed_by_path_and_page(store, monkeypatch):
    door, yard, street = [source.path for source in store.sources()]
    assert source_list.browse(store) == ([door, yard, street], 0, 1)
    assert source_list.browse(store, "Yard.P") == ([yard], 0, 1)
    assert source_list.browse(store, "nowhere") == ([], 0, 1)
    monkeypatch.setattr(source_list, "PER_PAGE", 2)
    assert source_list.browse(store, page=1) == ([street], 1, 2)
    assert source_list.browse(store, page=9) == ([street], 1, 2)
    assert source_list.browse(store, page=-1) == ([door, yard], 0, 2)


def test_detections_of_indexed_images_and_frames(store):
    door, yard, street = [source.path for source in store.sources()]

    def list_times(path, since=None):
        return [
            (detection.frame, detection.time)
            for detection in source_list.list_frame_detections(store, path, since)
        ]

    assert list_times(door) == [(None, None)] * 2
    assert list_times(yard) == [(None, None)]
    assert list_times(street) == [(10, 1.0)]
    assert list_times(street, 1.0) == [(10, 1.0)]
    assert list_times(street, 1.01) == [(15, 1.5)]
    assert list_times(street, 1.6) == [(20, 2.0)] * 2
    with pytest.raises(InputError, match="street.avi: has no detection from then on"):
        source_list.list_frame_detections(store, street, 60)
    with pytest.raises(InputError, match="/etc/passwd: is not in the gallery"):
        source_list.list_frame_detections(store, "/etc/passwd")
