"""Reading of MATLAB files: small variables whole, large arrays of structs one element at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np

from clsa_search.data.dataset_files import missing_file
from clsa_search.data.datasets.mat_arrays import read_variable
from clsa_search.data.datasets.mat_elements import (
    STRUCT,
    BrokenError,
    iterate_matrices,
    open_variable,
    read_header,
    read_order,
    read_tag,
)
from clsa_search.errors import InputError

T = TypeVar("T")


def load_variable(path: Path, *names: str) -> np.ndarray:
    """Load the first of some variables that a file has, see :func:`.read_variable`.

    Raises:
        InputError: the file is missing, is not a MATLAB file of version 5 to 7, or has none of the
            variables.
    """
    with _reported(path, "not a readable MATLAB file"), open(path, "rb") as file:
        order = read_order(file)
        return read_variable(open_variable(file, order, *names), order)


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
    with (
        _reported(path, f"not readable as a MATLAB file of version 5 with {name!r} as published"),
        open(path, "rb") as file,
    ):
        order = read_order(file)
        if order != "<":
            raise BrokenError("it is big-endian; expected little-endian")
        stream = open_variable(file, order, name)
        read_tag(stream)
        header = read_header(stream)
        if header.kind != STRUCT:
            raise BrokenError(f"{name!r} is of class {header.kind}; expected structs")
        for _ in range(header.length):
            matrices = iterate_matrices(stream, len(header.fields))
            yield parse(dict(zip(header.fields, matrices, strict=True)))


@contextmanager
def _reported(path: Path, fault: str) -> Iterator[None]:
    """Raise InputError with the path and the fault for any error in the block."""
    try:
        yield
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except InputError:
        raise
    except BrokenError as error:
        raise InputError(f"{path}: {fault}: {error}") from error
    except Exception as error:  # a damaged file can break any step
        raise InputError(f"{path}: {fault}: {type(error).__name__} {error}") from error
