"""A gallery, and a client of its desk.

Imports stand in the fixtures: test modules skip themselves without optional packages.
"""

import pytest


@pytest.fixture
def gallery(tmp_path):
    from tests.support.desk_cases import make_gallery

    with make_gallery(tmp_path) as gallery:
        yield gallery


@pytest.fixture
def client(gallery):
    from tests.support.desk_cases import make_client

    with make_client(gallery) as client:
        yield client
