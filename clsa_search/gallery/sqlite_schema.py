"""The tables of a gallery in SQLite, and the step from the version before."""

import sqlite3
from collections.abc import Sequence

import numpy as np

from clsa_search.gallery.checksums import sum_box, sum_detections, sum_source
from clsa_search.gallery.embedding_index import SOURCE_SHIFT
from clsa_search.structures import UNIT_TOLERANCE

SCHEMA_VERSION = 4
APPLICATION_ID = 0x434C5341  # "CLSA": marks a gallery among SQLite files
IMAGE = f"source << {SOURCE_SHIFT} | ifnull(frame + 1, 0)"  # number of an image

_CHECKSUMS = """
CREATE TABLE checksums (id INTEGER PRIMARY KEY, searched INTEGER NOT NULL, box INTEGER NOT NULL)
"""

# Ids are never used again. Other processes follow by them: a new detection has a higher id, a
# deleted one belongs to a source in `deletions`. The embedding is the last column: reading the
# columns before it does not read it. The index holds all columns of filters: counting and listing
# do not read the table. `checksums` lists the detections again, so that lost ones are missed.
SCHEMA = f"""
CREATE TABLE gallery (
  weights TEXT NOT NULL, about TEXT NOT NULL, width INTEGER, next_id INTEGER NOT NULL);
CREATE TABLE sources (
  id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE, fingerprint TEXT,
  next_frame INTEGER, checksum INTEGER NOT NULL DEFAULT 0);
CREATE TABLE detections (
  id INTEGER PRIMARY KEY, source INTEGER NOT NULL REFERENCES sources, frame INTEGER, time REAL,
  camera TEXT, x0 REAL NOT NULL, y0 REAL NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL,
  score REAL NOT NULL, embedding BLOB NOT NULL);
CREATE INDEX detections_of_source ON detections (source, time, score, camera);
CREATE TABLE deletions (id INTEGER PRIMARY KEY AUTOINCREMENT, source INTEGER NOT NULL);
{_CHECKSUMS}"""

_STEP_ROWS = 512


def add_checksums(connection: sqlite3.Connection) -> None:
    """Bring a gallery from version 3 to version 4, within a transaction of the caller.

    Damaged detections get no checksum; the gallery is searched once their files are deleted.
    """
    execute = connection.execute
    execute(_CHECKSUMS)
    execute("ALTER TABLE sources ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0")
    for fields in execute("SELECT id, path, fingerprint, next_frame FROM sources").fetchall():
        execute("UPDATE sources SET checksum = ? WHERE id = ?", (sum_source(*fields), fields[0]))
    (width,) = execute("SELECT width FROM gallery").fetchone()
    query = f"SELECT id, {IMAGE}, camera, time, score, embedding, x0, y0, x1, y1 FROM detections"
    cursor = execute(query)
    while rows := cursor.fetchmany(_STEP_ROWS):
        connection.executemany("INSERT INTO checksums VALUES (?, ?, ?)", _sum_sound(rows, width))
    execute("PRAGMA user_version = 4")


def _sum_sound(rows: Sequence[tuple], width: int) -> list[tuple[int, int, int]]:
    """Return id and checksums of the rows without damage."""
    try:
        sums = sum_detections([row[:6] for row in rows]).tolist()
        embeddings = np.frombuffer(b"".join(row[5] for row in rows), "<f4")
        norms = np.linalg.norm(embeddings.reshape(len(rows), width), axis=1)
        if not (np.abs(norms - 1) <= UNIT_TOLERANCE).all():  # false for NaN
            raise ValueError
        pairs = zip(rows, sums, strict=True)
        return [(row[0], searched, sum_box(row[6:])) for row, searched in pairs]
    except Exception:  # a damaged value can have any type
        if len(rows) == 1:
            return []
    half = len(rows) // 2
    return _sum_sound(rows[:half], width) + _sum_sound(rows[half:], width)
