"""Routes for exports, deletions and the watch list."""

import tempfile
from collections.abc import Iterator
from datetime import tzinfo
from typing import IO, Annotated

import numpy as np
from fastapi import APIRouter, Path
from starlette.responses import Response, StreamingResponse

from clsa_search.desk.api_models import Id
from clsa_search.desk.http_errors import Conflict
from clsa_search.desk.routes import Desk
from clsa_search.desk.search_desk import SearchDesk
from clsa_search.desk.upkeep_models import (
    DeletionAnswer,
    DeletionRequest,
    ExamplesRequest,
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
from clsa_search.retrieval.search_answers import SearchAnswer, as_text
from clsa_search.retrieval.search_scope import describe_filter
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
    answer = None
    if request.search is not None:
        answer = desk.search(request.search.model_copy(update={"per": "tracklet"}))
    tracklets = request.tracklets
    if tracklets is None:
        assert answer is not None
        tracklets = [one.tracklet for one in answer.matches if one.tracklet is not None]
    judgments = _find_judgments(request, answer)
    with desk.store.snapshot():  # an indexer may link the sightings anew
        rows = list_rows(desk.store, expand_chains(desk.store, tracklets), judgments)
    zone = parse_zone(desk.timezone or "UTC")
    file = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)
    with _EXPORTS.enter():
        if request.kind == "case":
            asked = _describe_case(desk, request, answer, zone)
            write_case(desk.store, rows, asked, file, zone)
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
    person = None if request.person is None else desk.records.find_person(request.person)
    sightings = request.tracklets
    if person is not None:
        mine = list_sightings_of(desk.store, person.name)
        sightings = mine if sightings is None else sorted({*sightings} & {*mine})
    selector = DeletionSelector(
        sources=sources,
        cameras=request.cameras,
        before=request.before,
        after=request.after,
        sightings=sightings,
    )
    plan = plan_deletion(desk.store, selector)
    if not request.dry_run:
        if request.confirm != plan.detections:
            given = "is missing" if request.confirm is None else request.confirm
            raise Conflict(
                f"confirm: {given}; {count_noun(plan.detections, 'detection')} would be "
                "deleted now; expected this number, from a dry run"
            )
        erase = request.erase or person is not None
        options = {"force": request.force, "erase": erase, "audit": True}
        _, left = run_deletion(desk.store, plan, **options)
        if person is not None:
            forget_person(desk.store, person.name)
        desk.forget_deleted(is_erased=erase)
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


@router.post("/people/{person_id}/examples", status_code=201)
def add_examples(
    person_id: Annotated[Id, Path()], request: ExamplesRequest, desk: Desk
) -> WatchedAnswer:
    """Add images of a person of the watch list."""
    person = desk.records.find_person(person_id)
    return watch(PersonRequest(name=person.name, of=request.of), desk)


@router.delete("/people/{person_id}", status_code=204)
def forget(person_id: Annotated[Id, Path()], desk: Desk) -> Response:
    """Delete a person with images, hits and verdicts; the sightings stay."""
    forget_person(desk.store, desk.records.find_person(person_id).name)
    return Response(status_code=204)


@router.put("/people/{person_id}/sightings/{tracklet_id}")
def judge(
    person_id: Annotated[Id, Path()], tracklet_id: Annotated[Id, Path()], said: Verdict, desk: Desk
) -> WatchedAnswer:
    """Say whether a sighting is this person."""
    desk.records.find_tracklet(tracklet_id)
    judge_sighting(desk.store, desk.records.find_person(person_id).name, tracklet_id, said.said)
    return _describe_person(desk, desk.records.find_person(person_id))


def _find_judgments(request: ExportRequest, answer: SearchAnswer | None) -> dict[int, Judgment]:
    """Return the judgments of the search on its sightings."""
    judgments = {number: Judgment(said=word) for number, word in request.said.items()}
    for match in () if answer is None else answer.matches:
        if match.tracklet is not None:
            said = request.said.get(match.tracklet)
            judgments[match.tracklet] = Judgment(
                *(match.similarity, match.expected_strangers, match.verdict, said),
                is_bound=match.is_bound,
                other_day=match.other_day,
                probability=match.probability,
            )
    return judgments


def _describe_case(
    desk: SearchDesk, request: ExportRequest, answer: SearchAnswer | None, zone: tzinfo
) -> CaseRequest:
    """Return the request in the words of `clsa-search export`."""
    if request.search is None or answer is None:
        return CaseRequest(request.title)
    where = desk.records.make_filter(request.search)
    images = desk.queries.describe_subjects(request.search.of)
    return CaseRequest(
        request.title,
        query={"title": " + ".join(one["caption"] for one in images), "images": images},
        filters=describe_filter(where, zone, request.search.max_strangers),
        searched=answer.searched,
        where=where,
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
