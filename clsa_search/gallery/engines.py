"""Opening a gallery: the address chooses the engine."""

import os
from collections.abc import Mapping

import torch

from clsa_search.errors import InputError
from clsa_search.gallery.milvus_store import MilvusStore
from clsa_search.gallery.milvus_table import SCHEMES
from clsa_search.gallery.sqlite_store import SQLiteStore
from clsa_search.gallery.store import GalleryStore


def open_store(
    address: str | os.PathLike,
    *,
    weights: str | None = None,
    create: bool = False,
    about: Mapping[str, str] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> GalleryStore:
    """Open a gallery.

    Args:
        address: path of a file: the embedded engine, SQLite; or a Milvus server's, such as
            http://HOST:19530/GALLERY, see `MilvusStore`.
        weights: hash of the weights that make what is added and asked for; None: to look only.
        create: start a new gallery where there is none; needs weights.
        about: what a new gallery remembers, such as where the weights lie.
        device: of the embedded engine: holds the embeddings for searching.
        dtype: of the embedded engine: float32, or float16 to hold twice as many; products are in
            float32 either way.

    Raises:
        InputError: there is no gallery and none is to be created, the file is none or one of
            another version, its embeddings come from other weights, no engine has such an
            address, or its server does not answer.
    """
    address = os.fspath(address)
    scheme, separator, _ = address.partition("://")
    if separator and scheme not in SCHEMES:
        raise InputError(
            f"{address}: no engine for addresses with {scheme}://; expected the path of a file "
            f"(SQLite), or a Milvus server's address with {', '.join(SCHEMES)}"
        )
    if separator:
        return MilvusStore(address, weights=weights, create=create, about=about)
    return SQLiteStore(
        address, weights=weights, create=create, about=about, device=device, dtype=dtype
    )
