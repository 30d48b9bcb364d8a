"""Plans of shifted start times: an interrupted shift is completed, and never done twice.

A plan is written before the first file changes. It holds camera and start of each file before and
after, and the request; it is deleted when its last file is linked again. So a second run knows the
files left.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from clsa_search.errors import InputError
from clsa_search.gallery import GalleryStore, Note, Placement, Source
from clsa_search.retrieval.source_base import find_base
from clsa_search.sightings.source_links import link_sources

SHIFT_KIND = "shift"
_NOTE_BYTES = 30_000  # of the files in a note: Milvus holds 64 KB
Changes = list[tuple[Source, Placement]]
Problems = list[tuple[str, str]]
Before = tuple[str | None, float]  # camera and start


class FinishedShift(NamedTuple):
    """A plan, carried out.

    Args:
        asked: name of the request, see `name_request`.
        changed: its files with their new values, also those of the interrupted run.
        problems: (path, reason) of those left as before.
    """

    asked: str
    changed: Changes
    problems: Problems


def name_request(paths: Sequence[str], options: object, shift: float) -> str:
    """Return a text for paths, options and shift, the same for the same ones."""
    text = json.dumps([sorted(paths), repr(options), shift])
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def write_plan(
    store: GalleryStore, asked: str, changes: Sequence[tuple[Source, Placement]]
) -> None:
    """Write a plan before its files change.

    Args:
        store: gallery without another plan.
        asked: see `name_request`.
        changes: sources with their new values.
    """
    files = [
        [source.path, [source.camera, source.start], *placement] for source, placement in changes
    ]
    notes = [Note(SHIFT_KIND, {"asked": asked, "files": part}) for part in _split(files)]
    store.write_notes(notes)


def finish_plan(store: GalleryStore) -> FinishedShift | None:
    """Carry out the plan of this or an interrupted run, and link its files; None if there is none.

    Files stay in the plan if they cannot be changed now; those deleted, moved or changed by others
    since are left as they are.

    Raises:
        InputError: the plan is damaged.
    """
    notes = store.notes(SHIFT_KIND)
    if not notes:
        return None
    plans = [(note, read_files(store, note)) for note in notes]
    sources = {source.path: source for source in store.sources()}
    changed: Changes = []
    problems: Problems = []
    for note, files in plans:
        left, placed = [], []
        for path, before, placement in files:
            try:
                source = _find_unchanged(sources, path, before, placement)
            except InputError as error:
                problems.append((path, str(error)))
                continue
            try:
                _place(store, source, placement)
                placed.append((source, placement))
            except InputError as error:
                problems.append((path, str(error)))
                left.append([path, before, *placement])
        problems += link_sources(store, [source.path for source, _ in placed])
        changed += placed
        _close(store, note, left)
    return FinishedShift(str(notes[0].values["asked"]), changed, problems)


def read_files(store: GalleryStore, note: Note) -> list[tuple[str, Before, Placement]]:
    """Return path, camera and start before, and new values of each file of a note.

    Raises:
        InputError: the note has another form.
    """
    try:
        str(note.values["asked"])
        return [
            (path, (camera, start), Placement(*new))
            for path, (camera, start), *new in note.values["files"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{store.address}: shift: note {note.note_id} is damaged; expected `clsa-search repair "
            f"{store.address}`; `list` shows the starts of all files"
        ) from error


def _find_unchanged(
    sources: Mapping[str, Source], path: str, before: Before, placement: Placement
) -> Source:
    """Return a source of a plan.

    Raises:
        InputError: it is not stored any more, or has another camera or start than before and
            after the plan.
    """
    source = sources.get(path)
    if source is None:
        raise InputError(
            f"{path}: was deleted or moved while a shift was interrupted; expected `retime` of its "
            "present path, if it has one"
        )
    if (source.camera, source.start) not in (before, (placement.camera, placement.start)):
        raise InputError(
            f"{path}: got another camera or start while a shift was interrupted; it is left so"
        )
    return source


def _place(store: GalleryStore, source: Source, placement: Placement) -> None:
    if placement != (source.camera, source.start, source.start_from):
        store.place(source.path, placement, source.fingerprint, find_base(source))


def _close(store: GalleryStore, note: Note, left: Sequence[Any]) -> None:
    """Delete a note of the plan, or keep it with the files left."""
    if not left:
        store.write_notes([], delete=[note.note_id or 0])
    elif len(left) < len(note.values["files"]):
        values = {**note.values, "files": list(left)}
        store.write_notes([Note(SHIFT_KIND, values, note_id=note.note_id)])


def _split(files: Sequence[list[Any]]) -> Iterator[list[list[Any]]]:
    """Yield the files in parts of the size of a note."""
    part: list[list[Any]] = []
    size = 0
    for one in files:
        length = len(json.dumps(one))  # ASCII: at least as long as it is stored
        if part and size + length > _NOTE_BYTES:
            yield part
            part, size = [], 0
        part.append(one)
        size += length
    if part:
        yield part
