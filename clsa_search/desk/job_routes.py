"""Routes for jobs and measurements."""

import time
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import APIRouter, Path
from starlette.responses import Response, StreamingResponse

from clsa_search.desk.api_models import Id
from clsa_search.desk.http_errors import Busy
from clsa_search.desk.job_models import JobAnswer, JobRequest
from clsa_search.desk.job_queue import Job, JobQueue
from clsa_search.desk.routes import Desk

router = APIRouter()
MAX_FOLLOWERS = 16
_LOOK_SECONDS = 0.2
_QUIET_SECONDS = 15.0  # proxies end connections that are silent for longer


@router.get("/api/v1/jobs")
def list_jobs(desk: Desk) -> list[JobAnswer]:
    """List the jobs of this run of the desk, the newest first."""
    return [_describe(job) for job in desk.jobs.queue.list_all()]


@router.post("/api/v1/jobs", status_code=201)
def add_job(request: JobRequest, desk: Desk) -> JobAnswer:
    """Start long work: index footage, calibrate, link."""
    return _describe(desk.jobs.add(request))


@router.get("/api/v1/jobs/{job_id}")
def describe_job(job_id: Annotated[Id, Path()], desk: Desk) -> JobAnswer:
    """Describe a job."""
    return _describe(desk.jobs.queue.get(job_id))


@router.delete("/api/v1/jobs/{job_id}")
def cancel_job(job_id: Annotated[Id, Path()], desk: Desk) -> JobAnswer:
    """End a job after its present step; what is stored stays."""
    return _describe(desk.jobs.queue.cancel(job_id))


@router.get(
    "/api/v1/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def follow_job(job_id: Annotated[Id, Path()], desk: Desk) -> Response:
    """Send a job whenever it changes, as server-sent events, until it has ended."""
    queue = desk.jobs.queue
    queue.get(job_id)
    if desk.num_followers >= MAX_FOLLOWERS:
        raise Busy("jobs: too many requests follow them; expected a new try in some seconds")
    return StreamingResponse(
        _follow(desk, queue, job_id),
        media_type="text/event-stream",
        headers={"x-accel-buffering": "no"},  # of nginx
    )


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def show_metrics(desk: Desk) -> Response:
    """Return requests, searches, gallery and jobs in numbers, as Prometheus reads them."""
    store = desk.store
    gauges = {
        "gallery_detections": store.count(),
        "gallery_sightings": store.count_tracklets(),
        "gallery_sources": len(store.paths()),
    }
    text = desk.metrics.write(gauges, desk.jobs.queue.count_states())
    return Response(text, media_type="text/plain; version=0.0.4")


async def _follow(desk: Desk, queue: JobQueue, job_id: int) -> AsyncIterator[str]:
    desk.num_followers += 1
    try:
        last, sent = None, time.monotonic()
        while True:
            job = queue.get(job_id)
            if job != last:
                yield f"data: {_describe(job).model_dump_json()}\n\n"
            elif time.monotonic() - sent > _QUIET_SECONDS:
                yield ": still there\n\n"
            else:
                await anyio.sleep(_LOOK_SECONDS)
                continue
            last, sent = job, time.monotonic()
            if job.has_ended or queue.is_closed:
                return
    finally:
        desk.num_followers -= 1


def _describe(job: Job) -> JobAnswer:
    return JobAnswer(**vars(job) | {"problems": list(job.problems)})
