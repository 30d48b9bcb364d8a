"""Opening a gallery store: the address selects the engine."""

import os
from collections.abc import Mapping

import torch

from clsa_search.argument_checks import check_path
from clsa_search.errors import InputError
from clsa_search.gallery.milvus_server import SCHEMES
from clsa_search.gallery.milvus_store import MilvusStore
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
    """Open a gallery store.

    Args:
        address: path of an SQLite file for the embedded engine, or address of a Milvus server such
            as http://HOST:19530/GALLERY, see `MilvusStore`.
        weights: hash of the model weights of new embeddings and queries; None opens for reading
            and deleting.
        create: create a missing gallery; needs weights.
        about: notes in a new gallery, such as the path of the weights.
        device: device of the search in the embedded engine.
        dtype: float32, or float16 to hold twice as many embeddings in the embedded engine;
            products are float32.

    Raises:
        InputError: the gallery is missing, the file is not a gallery of this version, its
            embeddings come from other weights, the address is malformed, or the server does not
            answer.
    """
    address = check_path("address", address)
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
