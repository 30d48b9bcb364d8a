"""Galleries of earlier versions, made from those of today."""

import sqlite3

from clsa_search.gallery.checksums import sum_box, sum_source

_TABLES = "tracklets", "members", "tracklet_embeddings", "revisions", "notes"
_COLUMNS = "camera", "start", "start_from", "linked"


def change(path, *statements):
    """Change a gallery behind its back; close it so that the file holds everything."""
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def make_version_5(path):
    """Take the origins of detections from a gallery."""
    connection = sqlite3.connect(path)
    boxes = connection.execute("SELECT x0, y0, x1, y1, id FROM detections").fetchall()
    sums = [(sum_box(box), i) for *box, i in boxes]
    connection.executemany("UPDATE checksums SET box = ? WHERE id = ?", sums)
    connection.commit()
    connection.close()
    change(
        path,
        "DROP INDEX drawn_detections",
        "ALTER TABLE detections DROP COLUMN origin",
        "PRAGMA user_version = 5",
    )


def make_version_4(path):
    """Take the tracklets, notes and origins of sources too."""
    make_version_5(path)
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
