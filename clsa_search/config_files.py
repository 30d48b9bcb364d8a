"""Config files: given by path, or by name from the configs of this package."""

import os
from pathlib import Path

from clsa_search.errors import InputError

_PACKAGE = Path(__file__).parent
CONFIG_DIR = next(
    (path for path in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if path.is_dir()),
    _PACKAGE / "configs",
)
"""Folder of the packaged configs: inside an installed package, beside it in a checkout."""


def find_config(config_file: str | os.PathLike) -> str:
    """Return the path of a config file.

    Args:
        config_file: a path, or the name of a packaged config with or without ".yaml". A path wins
            over a name.

    Raises:
        InputError: there is no such file and no packaged config of that name.
    """
    path = os.fspath(config_file)
    if os.path.isfile(path):
        return path
    packaged = CONFIG_DIR / f"{path.removesuffix('.yaml')}.yaml"
    if Path(path).name == path and packaged.is_file():
        return str(packaged)
    names = ", ".join(list_configs()) or f"none in {CONFIG_DIR}"
    raise InputError(
        f"config file {path} does not exist; expected a path or the name of a packaged config: "
        f"{names}"
    )


def list_configs() -> list[str]:
    """Return the names of the packaged configs; bases of other configs are left out."""
    names = (path.stem for path in CONFIG_DIR.glob("*.yaml"))
    return sorted(name for name in names if not name.startswith("Base-"))
