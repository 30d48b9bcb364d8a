"""Fixtures of the tests of galleries."""

import uuid

import pytest


@pytest.fixture
def milvus_address(milvus_server):
    """Address of a new gallery on Milvus."""
    return f"{milvus_server}/gallery_{uuid.uuid4().hex}"
