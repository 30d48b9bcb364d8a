"""Route for boxes that clients draw, to be stored."""

from fastapi import APIRouter

from clsa_search.desk.api_models import DrawnBox
from clsa_search.desk.gallery_models import DetectionAnswer
from clsa_search.desk.routes import Desk

router = APIRouter(prefix="/api/v1")


@router.post("/detections", status_code=201)
def add_detection(request: DrawnBox, desk: Desk) -> DetectionAnswer:
    """Store a person whom the detector missed: a box that somebody drew on a frame."""
    return desk.drawing.add(request)
