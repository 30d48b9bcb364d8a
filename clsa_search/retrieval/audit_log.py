"""Audit log of a gallery: counts and kinds of actions, no names and no embeddings."""

import getpass
import time
from collections.abc import Sequence

from clsa_search.gallery import GalleryStore, Note

AUDIT_KIND = "audit"


def write_audit(
    store: GalleryStore,
    did: str,
    by: Sequence[str],
    detections: int,
    sightings: int | None = None,
    who: str | None = None,
) -> None:
    """Write a line to the log.

    Args:
        store: gallery.
        did: action, such as "delete".
        by: names of the conditions, such as "cameras"; not their values.
        detections: number of detections.
        sightings: number of sightings.
        who: name of the user; by default of this process.
    """
    values = {
        "at": time.time(),
        "who": _find_user() if who is None else who,
        "did": did,
        "by": list(by),
        "detections": detections,
        "sightings": sightings,
    }
    store.write_notes([Note(AUDIT_KIND, values)])


def read_audit(store: GalleryStore) -> list[dict]:
    """Return the lines of the log, oldest first."""
    return [dict(note.values) for note in store.notes(AUDIT_KIND)]


def _find_user() -> str:
    try:
        return getpass.getuser()
    except Exception:  # a container may have a user without a name
        return "unknown"
