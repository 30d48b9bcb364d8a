"""The tables of a gallery in SQLite, and the steps from the versions before."""

import sqlite3
from collections.abc import Sequence

import numpy as np

from clsa_search.gallery.checksums import sum_box, sum_detections, sum_source, sum_tracklet
from clsa_search.gallery.detection_origins import tell_origin
from clsa_search.gallery.embedding_index import SOURCE_SHIFT
from clsa_search.structures import UNIT_TOLERANCE

SCHEMA_VERSION, OLDEST_VERSION = 6, 3
APPLICATION_ID = 0x434C5341  # "CLSA": marks a gallery among SQLite files
DETECTION_COLUMNS = "id, source, frame, time, camera, x0, y0, x1, y1, score, origin, embedding"
SINGLE_COLUMNS = "id, source, frame, time, camera, score"  # of a detection, for its tracklet
IMAGE = f"source << {SOURCE_SHIFT} | ifnull(frame + 1, 0)"  # number of an image

_CHECKSUMS = """
CREATE TABLE checksums (id INTEGER PRIMARY KEY, searched INTEGER NOT NULL, box INTEGER NOT NULL)
"""
DRAWN = "INDEXED BY drawn_detections WHERE origin = 'hand'"  # few: no need to search the others
_ORIGIN_COLUMN = "origin TEXT NOT NULL DEFAULT 'model'"  # see `GalleryImage.origin`
_DRAWN_INDEX = "CREATE INDEX drawn_detections ON detections (source) WHERE origin = 'hand'"
_SOURCE_COLUMNS = (
    "camera TEXT",
    "start REAL",
    "start_from TEXT",
    "linked INTEGER NOT NULL DEFAULT 1",
)
# A tracklet of one detection has neither members nor an embedding of its own. Tables of a
# tracklet's embedding and of its other columns: listing reads the latter only. Readers that hold
# tracklets, or detections, load them again from the id `first` of each new revision, or forget
# this id alone; see `RevisionTable.list_revisions`.
_TRACKLETS = """
CREATE TABLE tracklets (
  id INTEGER PRIMARY KEY, source INTEGER NOT NULL REFERENCES sources, chain INTEGER NOT NULL,
  camera TEXT, first REAL, last REAL, first_frame INTEGER, last_frame INTEGER,
  detections INTEGER NOT NULL, best INTEGER NOT NULL, score REAL NOT NULL, purity REAL NOT NULL,
  members_sum INTEGER NOT NULL, embedding_sum INTEGER NOT NULL, checksum INTEGER NOT NULL);
CREATE INDEX tracklets_of_source ON tracklets (source);
CREATE INDEX tracklets_of_chain ON tracklets (chain);
CREATE INDEX tracklets_of_time ON tracklets (camera, last);
CREATE TABLE members (detection INTEGER PRIMARY KEY, tracklet INTEGER NOT NULL);
CREATE INDEX members_of_tracklet ON members (tracklet);
CREATE TABLE tracklet_embeddings (id INTEGER PRIMARY KEY, embedding BLOB NOT NULL);
CREATE TABLE revisions (
  id INTEGER PRIMARY KEY AUTOINCREMENT, first INTEGER NOT NULL, detections INTEGER NOT NULL);
CREATE TABLE notes (
  id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, detection INTEGER,
  value TEXT NOT NULL, data BLOB, checksum INTEGER NOT NULL);
CREATE INDEX notes_of_kind ON notes (kind);
CREATE INDEX notes_of_detection ON notes (detection)
"""

# Ids are never used again. Other processes follow by them: a new detection has a higher id, a
# deleted one belongs to a source in `deletions`. The embedding stands behind all that filters
# compare: reading the columns before it does not read it. The index holds all columns of filters:
# counting and listing do not read the table. `checksums` lists the detections again, so that lost
# ones are missed.
SCHEMA = f"""
CREATE TABLE gallery (
  weights TEXT NOT NULL, about TEXT NOT NULL, width INTEGER, next_id INTEGER NOT NULL);
CREATE TABLE sources (
  id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE, fingerprint TEXT,
  next_frame INTEGER, checksum INTEGER NOT NULL DEFAULT 0, {", ".join(_SOURCE_COLUMNS)});
CREATE TABLE detections (
  id INTEGER PRIMARY KEY, source INTEGER NOT NULL REFERENCES sources, frame INTEGER, time REAL,
  camera TEXT, x0 REAL NOT NULL, y0 REAL NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL,
  score REAL NOT NULL, embedding BLOB NOT NULL, {_ORIGIN_COLUMN});
{_DRAWN_INDEX};
CREATE INDEX detections_of_source ON detections (source, time, score, camera);
CREATE TABLE deletions (id INTEGER PRIMARY KEY AUTOINCREMENT, source INTEGER NOT NULL);
{_CHECKSUMS};
{_TRACKLETS}"""

_STEP_ROWS = 512


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Bring a gallery to the version of this program, within a transaction of the caller."""
    if version < 4:
        _add_checksums(connection)
    if version < 5:
        _add_tracklets(connection)
    _add_origins(connection)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def reset_tracklets(connection: sqlite3.Connection) -> None:
    """Make each detection a tracklet of its own, within a transaction of the caller.

    Damaged detections get none; the gallery is searched once their files are deleted.
    """
    execute = connection.execute
    for table in ("tracklets", "members", "tracklet_embeddings"):
        execute(f"DELETE FROM {table}")
    cursor = execute(f"SELECT {SINGLE_COLUMNS} FROM detections ORDER BY id")
    while rows := cursor.fetchmany(_STEP_ROWS):
        insert_singles(connection, rows)
    execute("INSERT INTO revisions (first, detections) VALUES (0, 0)")


def insert_singles(connection: sqlite3.Connection, rows: Sequence[tuple]) -> None:
    """Insert a tracklet for each of some detections.

    Args:
        connection: connection to the file.
        rows: (id, source, frame, time, camera, score) of each.
    """
    singles = []
    for i, source, frame, time, camera, score in rows:
        try:
            row = i, source, i, camera, time, time, frame, frame, 1, i, score, 1.0, 0, 0
            singles.append((*row, sum_tracklet(row)))
        except Exception:  # a damaged value can have any type
            continue
    connection.executemany(f"INSERT INTO tracklets VALUES ({', '.join('?' * 15)})", singles)


def _add_checksums(connection: sqlite3.Connection) -> None:
    """Bring a gallery from version 3 to version 4.

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


def _add_tracklets(connection: sqlite3.Connection) -> None:
    """Bring a gallery from version 4 to version 5; damaged sources stay damaged."""
    execute = connection.execute
    for column in _SOURCE_COLUMNS:
        execute(f"ALTER TABLE sources ADD COLUMN {column}")
    for statement in _TRACKLETS.split(";"):
        execute(statement)
    reset_tracklets(connection)
    columns = "id, path, fingerprint, next_frame, checksum"
    for *fields, checksum in execute(f"SELECT {columns} FROM sources").fetchall():
        if sum_source(*fields) != checksum:
            continue
        source = fields[0]
        query = "FROM detections WHERE source = ?"
        cameras = execute(f"SELECT DISTINCT camera {query}", (source,)).fetchmany(2)
        camera = cameras[0][0] if len(cameras) == 1 else None
        is_video = execute(f"SELECT 1 {query} AND frame IS NOT NULL", (source,)).fetchone()
        linked = 0 if is_video else 1
        checksum = sum_source(*fields, camera, None, None, linked)
        values = camera, linked, checksum, source
        execute("UPDATE sources SET camera = ?, linked = ?, checksum = ? WHERE id = ?", values)


def _add_origins(connection: sqlite3.Connection) -> None:
    """Bring a gallery from version 5 to version 6; the fingerprint tells of imported boxes."""
    execute = connection.execute
    execute(f"ALTER TABLE detections ADD COLUMN {_ORIGIN_COLUMN}")
    execute(_DRAWN_INDEX)
    for source, fingerprint in execute("SELECT id, fingerprint FROM sources").fetchall():
        origin = tell_origin(fingerprint)
        if origin == "model":
            continue
        execute("UPDATE detections SET origin = ? WHERE source = ?", (origin, source))
        query = "SELECT d.id, box, x0, y0, x1, y1 FROM detections d JOIN checksums USING (id) "
        rows = execute(query + "WHERE source = ?", (source,)).fetchall()
        sums = [(_sum_known(known, box, origin), i) for i, known, *box in rows]
        connection.executemany("UPDATE checksums SET box = ? WHERE id = ?", sums)


def _sum_known(known: int, box: Sequence[float], origin: str) -> int:
    """Return the checksum with an origin; the known one of a damaged box, which stays damaged."""
    try:
        return sum_box(box, origin) if sum_box(box) == known else known
    except Exception:  # a damaged value can have any type
        return known


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
