"""Sources of a gallery whose files are gone, have moved, or are known by another path."""

import os
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from clsa_search.argument_checks import resolve_path
from clsa_search.errors import InputError
from clsa_search.gallery import GalleryStore, Source
from clsa_search.retrieval.erasure import move_suppressed
from clsa_search.retrieval.source_files import FILE_STATE, describe_file


class Move(NamedTuple):
    """A source and its new path.

    Args:
        source: the stored source.
        path: real path of its file now.
        fingerprint: `Source.fingerprint` with the state of this file.
    """

    source: Source
    path: str
    fingerprint: str | None


def resolve_links(stored: Collection[str]) -> dict[str, str]:
    """Return the real paths of those paths that hold links: {real path: stored path}."""
    real_paths = {os.path.realpath(path): path for path in stored}
    return {real: path for real, path in real_paths.items() if real not in stored}


def find_source(path: str | os.PathLike, stored: Collection[str]) -> str:
    """Return the stored path of a file, or its absolute path if it is not stored.

    Args:
        path: absolute or relative path, also one with links.
        stored: paths of all sources.
    """
    absolute, real = os.path.abspath(path), resolve_path(path)
    if absolute in stored:
        return absolute
    return real if real in stored else resolve_links(stored).get(real, absolute)


def find_gone(paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """Find the paths of sources without a file.

    Returns:
        Paths whose file or folder does not exist, and a reason for each file that cannot be
        reached for other reasons.
    """
    gone, unreachable = [], []
    for path in paths:
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            gone.append(path)
        except (OSError, ValueError) as error:  # the latter: no name of a file
            unreachable.append(f"{path}: {getattr(error, 'strerror', error)}")
    return gone, unreachable


def plan_moves(
    sources: Sequence[Source], old: str | os.PathLike, new: str | os.PathLike
) -> tuple[list[Move], list[str]]:
    """Find the new files of moved sources.

    Args:
        sources: all sources of the gallery.
        old: earlier path of a file or a folder.
        new: its path now; a folder may also hold the moved file.

    Returns:
        Moves of the sources whose new file has the size of the indexed one, and a reason for each
        of the others.

    Raises:
        InputError: there is nothing at the new path, or no source at the earlier one.
    """
    if not os.path.exists(new):
        raise InputError(f"{os.fspath(new)}: does not exist; expected the moved file or folder")
    moves, problems = [], []
    num_found = 0
    for source in sources:
        path = _follow(source.path, old, new)
        if path is None:
            continue
        num_found += 1
        try:
            moves.append(Move(source, path, _renew(source, path)))
        except InputError as error:
            problems.append(str(error))
    if not num_found:
        raise InputError(
            f"{os.fspath(old)}: is not indexed, and no indexed file lies below; "
            "expected the earlier path of a source of `list`"
        )
    return [move for move in moves if move.path != move.source.path], problems


def follow_renames(
    store: GalleryStore, paths: Iterable[str]
) -> tuple[list[str], list[tuple[str, str]]]:
    """Give renamed files their new paths in the gallery, see :func:`find_renamed`.

    Returns:
        These paths, and (path, reason) of those that another process has changed.
    """
    renamed, problems = [], []
    for source, path, fingerprint in find_renamed(store.sources(), paths):
        try:
            store.relink(source.path, path, fingerprint)
            move_suppressed(store, source.path, path)
        except InputError as error:
            problems.append((path, str(error)))
        else:
            renamed.append(path)
    return renamed, problems


def find_renamed(sources: Sequence[Source], paths: Iterable[str]) -> list[Move]:
    """Find the sources of files that are not indexed under their present names.

    A file is known by its size, its time of change and its suffix. Its earlier path is gone, and
    no other source is like it.

    Args:
        sources: all sources of the gallery.
        paths: real paths of files.
    """
    stored = {source.path for source in sources}
    unknown = [path for path in paths if path not in stored]
    links = resolve_links(stored) if unknown and stored else {}
    new: dict[tuple[str, str], list[str]] = {}
    for path in unknown:
        if path not in links:
            with suppress(InputError):  # gone again
                new.setdefault(_make_key(path, describe_file(path)), []).append(path)
    gone: dict[tuple[str, str], list[Source]] = {}
    for source in sources if new else ():
        state = FILE_STATE.match(source.fingerprint or "")
        if state and not os.path.lexists(source.path):
            gone.setdefault(_make_key(source.path, state[0]), []).append(source)
    return [
        Move(gone[key][0], found[0], gone[key][0].fingerprint)
        for key, found in new.items()
        if len(found) == 1 and len(gone.get(key, ())) == 1
    ]


def _make_key(path: str, state: str) -> tuple[str, str]:
    return state, os.path.splitext(path)[1].lower()


def _follow(path: str, old: str | os.PathLike, new: str | os.PathLike) -> str | None:
    """Return the path after a move; None if the source was elsewhere."""
    for start in (os.path.abspath(old), resolve_path(old)):
        if path == start:
            name = os.path.basename(path) if os.path.isdir(new) else ""
            return resolve_path(os.path.join(new, name) if name else new)
        if path.startswith(os.path.join(start, "")):
            return resolve_path(os.path.join(new, os.path.relpath(path, start)))
    return None


def _renew(source: Source, path: str) -> str | None:
    """Return the fingerprint of a source with the state of its file at another path.

    Raises:
        InputError: the file does not exist or has another size.
    """
    state = describe_file(path)
    indexed = FILE_STATE.match(source.fingerprint or "")
    if source.fingerprint is None or indexed is None:
        return source.fingerprint
    size, now = indexed[0].split(" ")[0], state.split(" ")[0]
    if size != now:
        raise InputError(f"{path}: has {now} bytes; expected {size} bytes, as {source.path} had")
    return state + source.fingerprint[indexed.end() :]
