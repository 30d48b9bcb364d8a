"""Upkeep of a gallery in both engines: deleted bytes leave the disk."""

from pathlib import Path

import numpy as np
import pytest

from clsa_search.gallery import open_store
from tests.support.store_cases import make_image, make_images, new_store


def read_disk(address):
    """Return all bytes of a gallery's files."""
    path = Path(address.removeprefix("milvus-lite://"))
    files = path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.name}*")
    return b"".join(one.read_bytes() for one in files if one.is_file())


def make_secret():
    rows = np.random.default_rng(7).normal(size=(3, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return make_image(rows, "secret_file.mp4", frame=1, time=1.0, camera="secret_camera")


@pytest.mark.parametrize("form", ["{}/street.db", "milvus-lite://{}/street.db"])
def test_deleted_bytes_leave_the_disk(tmp_path, form):
    store_address = form.format(tmp_path)
    secret = make_secret()
    parts = [
        b"secret_file",
        b"secret_camera",
        *(row.tobytes() for row in secret.detections.embeddings),
    ]
    with new_store(store_address) as store:
        store.add(make_images(20))
        store.add([secret])
        count = store.count()
        assert all(part in read_disk(store_address) for part in parts)
        assert store.delete("secret_file.mp4") == 3
        store.scrub()
        assert not any(part in read_disk(store_address) for part in parts)
        assert store.count() == count - 3
        store.scrub(vacuum=True)
    with open_store(store_address) as store:
        assert store.count() == count - 3
        assert not any(part in read_disk(store_address) for part in parts)
