"""Galleries of earlier versions, made from those of today."""

import sqlite3

from clsa_search.gallery.checksums import sum_source

_TABLES = "tracklets", "members", "tracklet_embeddings", "revisions", "notes"
_COLUMNS = "camera", "start", "start_from", "linked"


def change(path, *statements):
    """Change a gallery behind its back; close it so that the file holds everything."""
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def make_version_4(path):
    """Take the tracklets, notes and origins from a gallery."""
    change(
        path,
        *(f"DROP TABLE {name}" for name in _TABLES),
        *(f"ALTER TABLE sources DROP COLUMN {name}" for name in _COLUMNS),
        "PRAGMA user_version = 4",
    )
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT id, path, fingerprint, next_frame FROM sources").fetchall()
    sums = [(sum_source(*fields), fields[0]) for fields in rows]
    connection.executemany("UPDATE sources SET checksum = ? WHERE id = ?", sums)
    connection.commit()
    connection.close()


def make_version_3(path):
    """Take the checksums too."""
    make_version_4(path)
    change(
        path,
        "DROP TABLE checksums",
        "ALTER TABLE sources DROP COLUMN checksum",
        "PRAGMA user_version = 3",
    )
