"""The tables of a gallery in SQLite."""

SCHEMA_VERSION = 3
APPLICATION_ID = 0x434C5341  # "CLSA": marks a gallery among SQLite files

# Ids are never used again. Other processes follow by them: a new detection has a higher id, a
# deleted one belongs to a source in `deletions`. The embedding is the last column: reading the
# columns before it does not read it. The index holds all columns of filters: counting and listing
# do not read the table.
SCHEMA = """
CREATE TABLE gallery (
  weights TEXT NOT NULL, about TEXT NOT NULL, width INTEGER, next_id INTEGER NOT NULL);
CREATE TABLE sources (
  id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE, fingerprint TEXT,
  next_frame INTEGER);
CREATE TABLE detections (
  id INTEGER PRIMARY KEY, source INTEGER NOT NULL REFERENCES sources, frame INTEGER, time REAL,
  camera TEXT, x0 REAL NOT NULL, y0 REAL NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL,
  score REAL NOT NULL, embedding BLOB NOT NULL);
CREATE INDEX detections_of_source ON detections (source, time, score, camera);
CREATE TABLE deletions (id INTEGER PRIMARY KEY AUTOINCREMENT, source INTEGER NOT NULL);
"""
