"""Exports of sightings: a table, crops, clips; missing footage is named and the rest goes on."""

import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import timezone, tzinfo
from typing import IO, Literal

from PIL import Image

from clsa_search.errors import InputError
from clsa_search.gallery import GalleryStore
from clsa_search.retrieval.result_images import check_unchanged, read_person_images
from clsa_search.retrieval.sighting_rows import SightingRow, name_row, write_csv
from clsa_search.retrieval.source_base import seconds_in_file
from clsa_search.retrieval.video_clips import TimedBox, cut_clip
from clsa_search.retrieval.zip_files import write_zip
from clsa_search.visualize import trim_to_tile

ExportKind = Literal["csv", "crops", "clips"]
CLIP_MARGIN = 3.0
"""Seconds of a clip before and after its sighting."""

MAX_CLIP_SECONDS = 600.0
"""Longest clip; of a longer sighting it holds the begin."""

_JPEG_QUALITY = 92


def export_rows(
    store: GalleryStore,
    rows: Sequence[SightingRow],
    kind: ExportKind,
    file: IO[bytes],
    zone: tzinfo = timezone.utc,
) -> list[str]:
    """Write an export: a CSV file, or a zip file of crops or clips with the table in it.

    The same rows of the same files give the same bytes.

    Args:
        store: gallery of the sightings.
        rows: sightings.
        kind: "csv", "crops" or "clips".
        file: file to write.
        zone: time zone of the times.

    Returns:
        A reason for each missing crop or clip.
    """
    table = write_csv(rows, zone)
    if kind == "csv":
        file.write(table)
        return []
    missing: list[str] = []
    read = read_crops if kind == "crops" else read_clips

    def list_entries() -> Iterator[tuple[str, bytes]]:
        yield "sightings.csv", table
        yield from read(store, rows, missing)
        if missing:
            yield "missing.txt", encode_lines(missing)

    write_zip(file, list_entries())
    return missing


def read_crops(
    store: GalleryStore, rows: Sequence[SightingRow], missing: list[str]
) -> Iterator[tuple[str, bytes]]:
    """Yield name and JPEG of the best crop of each sighting.

    Args:
        store: gallery of the sightings.
        rows: sightings.
        missing: a reason for each missing crop is added.
    """
    names = {row.best.detection_id: name_row(row, i) for i, row in enumerate(rows, 1)}
    fingerprints = _read_fingerprints(store)
    for detection, image in read_person_images([row.best for row in rows], fingerprints):
        if isinstance(image, InputError):
            missing.append(f"crop {names[detection.detection_id]}: {image}")
            continue
        file = io.BytesIO()
        Image.fromarray(trim_to_tile(image).image).save(file, "JPEG", quality=_JPEG_QUALITY)
        yield f"crops/{names[detection.detection_id]}.jpg", file.getvalue()


def read_clips(
    store: GalleryStore, rows: Sequence[SightingRow], missing: list[str]
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the clip of each sighting in a video; see :func:`read_crops`."""
    fingerprints = _read_fingerprints(store)
    for i, row in enumerate(rows, 1):
        if row.span is None:
            continue
        name = name_row(row, i)
        try:
            check_unchanged(row.source, fingerprints.get(row.source))
            start, stop = row.span[0] - CLIP_MARGIN, row.span[1] + CLIP_MARGIN
            if stop - start > MAX_CLIP_SECONDS:
                missing.append(f"clip {name}: holds {MAX_CLIP_SECONDS:g} s of {stop - start:.0f} s")
                stop = start + MAX_CLIP_SECONDS
            clip = cut_clip(row.source, start, stop, list_boxes(store, row))
        except InputError as error:
            missing.append(f"clip {name}: {error}")
            continue
        yield f"clips/{name}{clip.suffix}", clip.content


def list_boxes(store: GalleryStore, row: SightingRow) -> list[TimedBox]:
    """Return the boxes of a sighting in a video by the seconds within the file."""
    sources = {source.path: source for source in store.sources()}
    boxes = [
        TimedBox(seconds_in_file(sources[row.source], one.time), one.box)
        for one in store.tracklet_detections(row.sighting)
        if one.time is not None
    ]
    return sorted(boxes)


def encode_lines(lines: Sequence[str]) -> bytes:
    """Return lines as UTF-8; invalid characters of file names become "?"."""
    return "".join(f"{line}\n" for line in lines).encode(errors="replace")


def _read_fingerprints(store: GalleryStore) -> Mapping[str, str | None]:
    return {source.path: source.fingerprint for source in store.sources()}
