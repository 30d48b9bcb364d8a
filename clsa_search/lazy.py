"""Lazy exports of a package (PEP 562): a module is imported when one of its names is first used."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_exports(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package.

    Type checkers read the same names from imports under `if TYPE_CHECKING`.

    Args:
        package: `__name__` of the package.
        modules: module of each exported name.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return get
