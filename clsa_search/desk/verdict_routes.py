"""Routes for the user's verdicts on matches of searches."""

from fastapi import APIRouter

from clsa_search.desk.routes import Desk
from clsa_search.desk.verdict_models import VerdictsAnswer, VerdictsRequest
from clsa_search.retrieval.verdict_store import UserVerdict, forget_verdicts, say_verdicts

router = APIRouter(prefix="/api/v1")


@router.get("/verdicts")
def count_verdicts(desk: Desk) -> VerdictsAnswer:
    """Count the stored verdicts of all searches."""
    return desk.records.count_verdicts()


@router.post("/verdicts")
def say(request: VerdictsRequest, desk: Desk) -> VerdictsAnswer:
    """Store verdicts on matches of a query, or take them back."""
    desk.records.check_tracklets([one.tracklet for one in request.verdicts])
    verdicts = [UserVerdict(one.tracklet, one.said, one.z) for one in request.verdicts]
    say_verdicts(desk.store, request.query, verdicts)
    return desk.records.count_verdicts()


@router.delete("/verdicts")
def forget_all(desk: Desk) -> VerdictsAnswer:
    """Delete all verdicts."""
    forget_verdicts(desk.store)
    return desk.records.count_verdicts()
