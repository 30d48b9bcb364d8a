"""Upkeep of a gallery on Milvus."""

from typing import Any, NoReturn

from clsa_search.errors import InputError
from clsa_search.gallery.upkeep import UpkeepStore


class MilvusUpkeep(UpkeepStore):
    """Upkeep on Milvus: not yet."""

    address: str

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise InputError(f"{self.address}: is kept in SQLite files only")

    place = list_members = scrub = _refuse
