"""Where datasets lie on disk, and the errors about missing parts."""

import os
from collections.abc import Sequence
from pathlib import Path

from clsa_search.errors import InputError
from clsa_search.wording import count_noun


def dataset_path(relative: str) -> Path:
    """Return a path below $DETECTRON2_DATASETS, or below ./datasets without that variable."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")) / relative


def existing_dataset_path(name: str, relative: str) -> Path:
    """Return the path of a dataset (see `dataset_path`) and check that it exists.

    Args:
        name: name of the dataset, for the message.
        relative: file or folder of the dataset below $DETECTRON2_DATASETS.

    Raises:
        InputError: the dataset is not there.
    """
    path = dataset_path(relative)
    if not path.exists():
        raise InputError(
            f"Dataset {name!r} is not at {path}; expected it below $DETECTRON2_DATASETS or, "
            "without that variable, ./datasets (datasets/README.md tells how to get it)"
        )
    return path


def missing_file(path: str | os.PathLike) -> InputError:
    """Return the error about a missing file or folder of a dataset."""
    return InputError(
        f"{path}: no such file or folder; expected it as a part of the dataset "
        "(datasets/README.md tells where to get it and how its folder looks)"
    )


def missing_files(paths: Sequence[str | os.PathLike], total: int) -> InputError:
    """Return the error about missing files of a dataset, at least one of `total`."""
    error = missing_file(paths[0])
    if len(paths) == 1:
        return error
    return InputError(f"{len(paths):,} of {count_noun(total, 'file')} are missing, such as {error}")
