"""Checks of arguments without slow imports."""

import os

from clsa_search.config_files import find_config
from clsa_search.errors import InputError, missing_gallery


def check_model_files(
    *checkpoints: str | os.PathLike | None, config_file: str | os.PathLike | None = None
) -> None:
    """Check that checkpoints and a config exist; None and URLs pass.

    Raises:
        InputError: one of them does not exist.
    """
    for checkpoint in checkpoints:
        path = "" if checkpoint is None else os.fspath(checkpoint)
        if path and "://" not in path and not os.path.isfile(path):
            raise InputError(f"checkpoint {path!r} does not exist; expected the path of a model")
    if config_file:
        find_config(config_file)


def check_store(address: str) -> None:
    """Check that the file of a gallery exists; server addresses pass.

    Raises:
        InputError: there is no such file.
    """
    if "://" not in address and not os.path.isfile(address):
        raise missing_gallery(address)


def check_readable(*paths: str | os.PathLike | None) -> None:
    """Check that files exist; None passes.

    Raises:
        InputError: a file does not exist, or its folder cannot be read.
    """
    for path in paths:
        try:
            if path is not None:
                os.stat(path)
        except (OSError, ValueError) as error:  # the latter: no name of a file
            reason = getattr(error, "strerror", error)
            raise InputError(f"{path}: cannot be read: {reason}") from error
