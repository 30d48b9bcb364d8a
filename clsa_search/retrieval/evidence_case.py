"""An evidence case: sightings with the query, the method and the hashes of their sources.

It holds no time of export: the same request on the same files gives the same bytes.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timezone, tzinfo
from typing import IO, Any

import jinja2
from PIL import Image

import clsa_search
from clsa_search.errors import InputError
from clsa_search.gallery import Filter, GalleryStore, Source
from clsa_search.retrieval.coverage_lanes import CoverageView, draw_coverage
from clsa_search.retrieval.result_images import check_unchanged
from clsa_search.retrieval.search_scope import (
    describe_calibration,
    format_calibration,
    format_filters,
    move_filters,
)
from clsa_search.retrieval.sighting_exports import (
    CLIP_MARGIN,
    encode_lines,
    read_clips,
    read_crops,
)
from clsa_search.retrieval.sighting_rows import SightingRow, format_iso, name_row, write_csv
from clsa_search.retrieval.source_coverage import read_coverage
from clsa_search.retrieval.stored_calibration import find_calibration
from clsa_search.retrieval.zip_files import write_zip
from clsa_search.sightings.coverage import CameraCoverage
from clsa_search.structures import PersonImage
from clsa_search.visualize import trim_to_tile

FORMAT = 1
LIMITS = (
    "Re-identification compares clothes and build, not faces: the same uniform looks the same.",
    "Clothes change: a sighting of another day may look like a stranger.",
    "Who is not listed may still have been there: between sampled frames, hidden, or in hours "
    "and places without footage.",
)
_CHUNK = 1 << 20


@dataclass(frozen=True)
class CaseRequest:
    """What was asked, for the record.

    Args:
        title: name of the case.
        query: what was searched for, as plain values; None without a search.
        filters: filters of the search, see `describe_filter`.
        searched: number of sightings in the filters; None without a search.
        calibration: the calibration as plain values; by default that of the gallery.
        where: the filters, to find the footage.
        coverage: this footage, if the search noted it.
        query_images: images of the queried person.
        notes: further lines of the user.
    """

    title: str = "Sightings"
    query: Mapping[str, Any] | None = None
    filters: Mapping[str, Any] = field(default_factory=dict)
    searched: int | None = None
    calibration: Mapping[str, Any] | None = None
    where: Filter | None = None
    coverage: Sequence[CameraCoverage] | None = None
    query_images: Sequence[PersonImage] = ()
    notes: Sequence[str] = ()


def write_case(
    store: GalleryStore,
    rows: Sequence[SightingRow],
    request: CaseRequest,
    file: IO[bytes],
    zone: tzinfo = timezone.utc,
) -> list[str]:
    """Write a zip file: case.json, sightings.csv, report.html, crops, clips, the query.

    Args:
        store: gallery of the sightings.
        rows: sightings, in the order of the report.
        request: what was asked.
        file: file to write.
        zone: time zone of the times in table and report.

    Returns:
        A reason for each missing file, crop or clip.
    """
    missing: list[str] = []
    write_zip(file, _list_entries(store, rows, request, zone, missing))
    return missing


def _list_entries(
    store: GalleryStore,
    rows: Sequence[SightingRow],
    request: CaseRequest,
    zone: tzinfo,
    missing: list[str],
) -> Iterator[tuple[str, bytes]]:
    files: dict[str, str] = {}  # SHA-256 of the entries before the record
    sources = [_describe_source(source, missing) for source in _find_sources(store, rows)]

    def keep(name: str, content: bytes) -> tuple[str, bytes]:
        files[name] = hashlib.sha256(content).hexdigest()
        return name, content

    for i, image in enumerate(request.query_images, 1):
        yield keep(f"query/{i:02}.jpg", _encode_image(image))
    for read in (read_crops, read_clips):
        for name, content in read(store, rows, missing):
            yield keep(name, content)
    yield keep("sightings.csv", write_csv(rows, zone))
    coverage = request.coverage
    if coverage is None:
        coverage = read_coverage(store, request.where)
    record = _describe_search(store, request, zone, missing) | {
        "coverage": [_describe_coverage(one, zone) for one in coverage],
        "sources": sources,
        "sightings": [_describe_row(row, i, zone, files) for i, row in enumerate(rows, 1)],
        "missing": missing,
    }
    moments = [(row.camera, row.first) for row in rows if row.first is not None]
    view = draw_coverage(coverage, lambda time: format_iso(time, zone)[:19], moments)
    queries = sorted(name for name in files if name.startswith("query/"))
    yield keep("report.html", _render_report(record, queries, view))
    yield "case.json", _encode_json(record | {"files_sha256": files})
    sums = [f"{digest}  {name}" for name, digest in sorted(files.items())]
    yield "SHA256SUMS", encode_lines(sums)


def _describe_search(
    store: GalleryStore, request: CaseRequest, zone: tzinfo, missing: list[str]
) -> dict:
    """Return the part of the record that says what was searched, with which limits."""
    known, fault = find_calibration(store)
    if fault is not None:
        missing.append(fault)
    return {
        "format": FORMAT,
        "title": request.title,
        "program": f"clsa_search {clsa_search.__version__}",
        "gallery": store.address,
        "weights_sha256": store.weights,
        "query": request.query,
        "filters": move_filters(request.filters, zone),
        "searched": request.searched,
        "calibration": request.calibration or describe_calibration(known),
        "clip_margin_seconds": CLIP_MARGIN,
        "limits": LIMITS,
        "notes": list(request.notes),
    }


def hash_file(path: str) -> str:
    """Return the SHA-256 of a file.

    Raises:
        InputError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected the indexed file") from error
    return digest.hexdigest()


def _describe_coverage(one: CameraCoverage, zone: tzinfo) -> dict[str, Any]:
    """Return the coverage of a camera with times in ISO 8601."""
    spans = {
        name: [[format_iso(time, zone) for time in span] for span in getattr(one, name)]
        for name in ("spans", "gaps")
    }
    return {"camera": one.camera, **spans, "files_without_date": one.undated}


def _find_sources(store: GalleryStore, rows: Sequence[SightingRow]) -> list[Source]:
    needed = {row.source for row in rows}
    return [source for source in store.sources() if source.path in needed]


def _describe_source(source: Source, missing: list[str]) -> dict[str, Any]:
    digest, size, fault = None, None, None
    try:
        digest, size = hash_file(source.path), os.path.getsize(source.path)
        check_unchanged(source.path, source.fingerprint)
    except InputError as error:
        fault = str(error)
        missing.append(f"source {fault}")
    return {
        "path": source.path,
        "sha256": digest,
        "bytes": size,
        "camera": source.camera,
        "start": format_iso(source.start) or None,
        "start_from": source.start_from,
        "problem": fault,
    }


def _describe_row(
    row: SightingRow, number: int, zone: tzinfo, files: Mapping[str, str]
) -> dict[str, Any]:
    name = name_row(row, number)
    crop = f"crops/{name}.jpg"
    clips = [one for one in files if one.startswith(f"clips/{name}.")]
    return {
        "sighting": row.sighting,
        "camera": row.camera,
        "first": format_iso(row.first, zone) or None,
        "last": format_iso(row.last, zone) or None,
        "source": row.source,
        "seconds_in_file": row.best_seconds,
        "frame": row.best.frame,
        "box": [float(value) for value in row.best.box],
        "detections": row.detections,
        **asdict(row.judgment),
        "crop": crop if crop in files else None,
        "clip": clips[0] if clips else None,
        "clip_is_original": bool(clips) and not clips[0].endswith(".webp"),
    }


def _encode_json(values: Mapping[str, Any]) -> bytes:
    text = json.dumps(values, indent=1, ensure_ascii=False, sort_keys=True, default=str)
    return text.encode(errors="replace")


def _encode_image(person: PersonImage) -> bytes:
    file = io.BytesIO()
    Image.fromarray(trim_to_tile(person).image).save(file, "JPEG", quality=92)
    return file.getvalue()


def _render_report(
    record: Mapping[str, Any], queries: Sequence[str], coverage: CoverageView
) -> bytes:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clsa_search.retrieval", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template("case.html").render(
        case=record,
        queries=queries,
        coverage=coverage,
        format_query=_format_query,
        format_filters=format_filters,
        format_calibration=format_calibration,
    )
    return page.encode(errors="replace")


def _format_query(query: Mapping[str, Any] | None) -> str:
    """Return the query in words, for any content of a results.json."""
    if not query:
        return "none: the sightings were chosen"
    images = [one for one in query.get("images") or () if isinstance(one, Mapping)]
    words = [str(query.get("title") or "untitled")]
    for one in images:
        box = one.get("box")
        where = f", box {', '.join(map(str, box))}" if isinstance(box, list | tuple) else ""
        words.append(f"{one.get('caption') or 'an image'}{where}")
    return "; ".join(words)
