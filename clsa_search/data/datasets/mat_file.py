"""Reading of MATLAB files: small variables whole, large arrays of structs one element at a time."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from clsa_search.data.dataset_files import missing_file
from clsa_search.data.datasets.mat_elements import (
    STRUCT,
    BrokenError,
    iterate_matrices,
    open_variable,
    read_header,
)
from clsa_search.errors import InputError

T = TypeVar("T")


def load_variable(path: Path, *names: str) -> np.ndarray:
    """Load the first of some variables that a file has, with SciPy.

    Raises:
        InputError: the file is missing, is not a MATLAB file of version 4 to 7, or has none of the
            variables.
    """
    from scipy.io import loadmat  # slow to import

    try:
        with open(path, "rb") as file:
            variables = loadmat(file, variable_names=names)  # type: ignore[arg-type]
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except Exception as error:  # SciPy raises errors of many types for broken files
        raise InputError(f"{path}: not a readable MATLAB file: {error}") from error
    for name in names:
        if name in variables:
            return variables[name]
    raise InputError(f"{path}: no variable {' or '.join(map(repr, names))}")


def iterate_structs(path: Path, name: str, parse: Callable[[dict[str, bytes]], T]) -> Iterator[T]:
    """Yield the result of `parse` for each element of an array of structs.

    Args:
        path: a little-endian MATLAB file of version 5 to 7.
        name: variable of the array.
        parse: takes the bytes of an element's matrices by field name.

    Raises:
        InputError: the file is missing or damaged, is of another version, or has no such array, or
            `parse` fails.
    """
    try:
        with open(path, "rb") as file:
            stream = open_variable(file, name)
            header = read_header(stream)
            if header.kind != STRUCT:
                raise BrokenError(f"{name!r} is of class {header.kind}; expected structs")
            for _ in range(header.length):
                fields = zip(
                    header.fields, iterate_matrices(stream, len(header.fields)), strict=True
                )
                yield parse(dict(fields))
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except InputError:
        raise
    except Exception as error:  # a damaged file can break any step
        raise InputError(
            f"{path}: not readable as a MATLAB file of version 5 with {name!r} as published: "
            f"{type(error).__name__} {error}"
        ) from error
