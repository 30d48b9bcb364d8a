"""The gallery of sightings that several tests work on."""

import pytest

from tests.support.sighting_cases import DAY, make_gallery, write_footage


@pytest.fixture
def folder(tmp_path):
    return write_footage(tmp_path / "footage")


@pytest.fixture
def store(tmp_path, folder):
    with make_gallery(tmp_path / "gallery.db", folder, start_time=DAY) as store:
        yield store
