"""Shapes of the API for jobs; see `api_models`."""

from typing import Literal

from pydantic import model_validator

from clsa_search.desk.api_models import Answer, Shape, SourceId


class JobRequest(Shape):
    """Long work on the gallery.

    Args:
        kind: "index" looks for new and changed files, "calibrate" learns how alike strangers are,
            "link" joins detections to sightings.
        folder: id of the folder to index, one of the gallery's; by default all of them, and the
            files that the gallery knows.
        again: link all files, not only new ones.
    """

    kind: Literal["index", "calibrate", "link"]
    folder: SourceId | None = None
    again: bool = False

    @model_validator(mode="after")
    def _fits(self) -> "JobRequest":
        if self.folder is not None and self.kind != "index":
            raise ValueError("a folder with the kind index only")
        if self.again and self.kind != "link":
            raise ValueError("again with the kind link only")
        return self


class JobAnswer(Answer):
    """A job.

    Args:
        id: number of the job.
        kind: kind of the work.
        state: what it does; "done", "failed" and "cancelled" stay.
        done: number of images, frames or files that are done.
        of: estimated number of them in all; None if it is not known yet.
        message: outcome in words, or the fault.
        problems: reasons of files that could not be taken, 100 at most.
    """

    id: int
    kind: Literal["index", "calibrate", "link"]
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    done: int
    of: int | None
    message: str
    problems: list[str]


class FolderAnswer(Answer):
    """A folder to look for new files in.

    Args:
        id: id of the folder.
        name: name of the folder.
    """

    id: str
    name: str
