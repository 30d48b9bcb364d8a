"""Routes for exports, deletions and the watch list."""

import tempfile
from collections.abc import Iterator
from typing import IO, Annotated

import numpy as np
from fastapi import APIRouter, Path
from starlette.responses import Response, StreamingResponse

from clsa_search.desk.api_models import Id
from clsa_search.desk.http_errors import Conflict, NotFound
from clsa_search.desk.routes import Desk
from clsa_search.desk.search_desk import SearchDesk
from clsa_search.desk.upkeep_models import (
    DeletionAnswer,
    DeletionRequest,
    ExportRequest,
    PersonRequest,
    Verdict,
    WatchedAnswer,
)
from clsa_search.desk.work_gates import Gate
from clsa_search.retrieval.deletions import (
    DeletionPlan,
    DeletionSelector,
    plan_deletion,
    run_deletion,
)
from clsa_search.retrieval.evidence_case import CaseRequest, write_case
from clsa_search.retrieval.search_answers import as_text
from clsa_search.retrieval.sighting_exports import export_rows
from clsa_search.retrieval.sighting_rows import Judgment, expand_chains, list_rows
from clsa_search.retrieval.time_rules import parse_zone
from clsa_search.retrieval.watch_list import (
    Person,
    add_person,
    check_until,
    forget_person,
    judge_sighting,
    list_people,
    list_sightings_of,
)
from clsa_search.wording import count_noun

router = APIRouter(prefix="/api/v1")
_EXPORTS = Gate("export", slots=1, waiting=2)
_SPOOL_BYTES = 32 << 20  # of an export held in memory
_CHUNK = 1 << 18


@router.post("/exports", response_class=StreamingResponse)
def export(request: ExportRequest, desk: Desk) -> Response:
    """Return sightings as a table, or as a zip file with crops, clips or an evidence case."""
    rows_of = _find_judgments(desk, request)
    rows = list_rows(desk.store, expand_chains(desk.store, request.tracklets), rows_of)
    zone = parse_zone(desk.timezone or "UTC")
    file = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)
    with _EXPORTS.enter():
        if request.kind == "case":
            write_case(desk.store, rows, _describe_case(desk, request), file, zone)
        else:
            export_rows(desk.store, rows, request.kind, file, zone)
    suffix, kind = ("csv", "text/csv") if request.kind == "csv" else ("zip", "application/zip")
    name = "sightings" if request.kind == "csv" else request.kind
    headers = {
        "content-disposition": f'attachment; filename="{name}.{suffix}"',
        "content-length": str(file.tell()),
    }
    file.seek(0)
    return StreamingResponse(_read_chunks(file), media_type=kind, headers=headers)


@router.post("/deletions")
def delete(request: DeletionRequest, desk: Desk) -> DeletionAnswer:
    """Count or delete sightings; deleting needs the number of the dry run."""
    sources = request.sources and [desk.footage.find_path(one) for one in request.sources]
    selector = DeletionSelector(
        sources=sources,
        cameras=request.cameras,
        before=request.before,
        after=request.after,
        sightings=request.tracklets,
    )
    plan = plan_deletion(desk.store, selector)
    if not request.dry_run:
        if request.confirm != plan.detections:
            given = "is missing" if request.confirm is None else request.confirm
            raise Conflict(
                f"confirm: {given}; {count_noun(plan.detections, 'detection')} would be "
                "deleted now; expected this number, from a dry run"
            )
        options = {"force": request.force, "erase": request.erase, "audit": True}
        _, left = run_deletion(desk.store, plan, **options)
        desk.forget_images()
        return _describe_plan(plan, request.dry_run, left)
    return _describe_plan(plan, request.dry_run)


@router.get("/people")
def list_watched(desk: Desk) -> list[WatchedAnswer]:
    """List the people of the watch list."""
    return [_describe_person(desk, person) for person in list_people(desk.store)]


@router.post("/people", status_code=201)
def watch(request: PersonRequest, desk: Desk) -> WatchedAnswer:
    """Add a person to the watch list, or images of a known one."""
    check_until(request.until)
    examples = np.stack([one.embedding for one in desk.queries.read_views(request.of)])
    person = add_person(desk.store, request.name, examples, note=request.note, until=request.until)
    return _describe_person(desk, person)


@router.delete("/people/{person_id}", status_code=204)
def forget(person_id: Annotated[Id, Path()], desk: Desk) -> Response:
    """Delete a person with images, hits and verdicts; the sightings stay."""
    forget_person(desk.store, _find_person(desk, person_id).name)
    return Response(status_code=204)


@router.put("/people/{person_id}/sightings/{tracklet_id}")
def judge(
    person_id: Annotated[Id, Path()], tracklet_id: Annotated[Id, Path()], said: Verdict, desk: Desk
) -> WatchedAnswer:
    """Say whether a sighting is this person."""
    desk.records.find_tracklet(tracklet_id)
    judge_sighting(desk.store, _find_person(desk, person_id).name, tracklet_id, said.said)
    return _describe_person(desk, _find_person(desk, person_id))


def _find_judgments(desk: SearchDesk, request: ExportRequest) -> dict[int, Judgment]:
    """Return the judgments of the search on its sightings."""
    said = {number: Judgment(said=word) for number, word in request.said.items()}
    if request.search is None:
        return said
    search = request.search.model_copy(update={"per": "tracklet"})
    return said | {
        match.tracklet: Judgment(
            match.similarity,
            match.expected_strangers,
            match.verdict,
            request.said.get(match.tracklet),
        )
        for match in desk.search(search).matches
        if match.tracklet is not None
    }


def _describe_case(desk: SearchDesk, request: ExportRequest) -> CaseRequest:
    if request.search is None:
        return CaseRequest(request.title)
    values = request.search.model_dump(exclude={"of", "limit", "per"})
    answer = desk.search(request.search)
    return CaseRequest(
        request.title,
        query={"of": [one.model_dump(exclude_none=True) for one in request.search.of]},
        filters=values,
        searched=answer.searched,
        query_images=desk.queries.show_subjects(request.search.of),
    )


def _describe_plan(plan: DeletionPlan, dry_run: bool, left: str | None = None) -> DeletionAnswer:
    what = count_noun(plan.detections, "detection")
    if plan.sightings:
        what = f"{count_noun(len(plan.sightings), 'sighting')}, {what}"
    end = "would be deleted" if dry_run else "deleted"
    return DeletionAnswer(
        dry_run=dry_run,
        sightings=len(plan.sightings),
        detections=plan.detections,
        files=plan.files,
        first=plan.first,
        last=plan.last,
        needs_force=plan.is_large,
        message=f"{what} in {count_noun(plan.files, 'file')} {end}; the footage itself stays."
        + (f" Note: {as_text(left)}." if left else ""),
    )


def _find_person(desk: SearchDesk, person_id: int) -> Person:
    for person in list_people(desk.store):
        if person.person_id == person_id:
            return person
    raise NotFound(f"person: there is no {person_id}; expected one of the watch list")


def _describe_person(desk: SearchDesk, person: Person) -> WatchedAnswer:
    return WatchedAnswer(
        id=person.person_id,
        name=as_text(person.name),
        note=as_text(person.note),
        since=person.since,
        until=person.until,
        examples=len(person.examples),
        sightings=list_sightings_of(desk.store, person.name),
    )


def _read_chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk
