"""Shapes of the API for exports, deletions and the watch list; see `api_models`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from clsa_search.desk.api_models import (
    Answer,
    Id,
    Name,
    SearchRequest,
    Seconds,
    Shape,
    SourceId,
    Subject,
)

Tracklets = Annotated[list[Id], Field(min_length=1, max_length=10_000)]
Said = Literal["same", "other"]


class ExportRequest(Shape):
    """Sightings to export.

    Args:
        tracklets: ids of the sightings; by default the matches of the search.
        kind: "csv" for a table, "crops" or "clips" for a zip file with them, "case" for an
            evidence case.
        title: title of the case.
        search: their search; it runs again, and the export tells its results.
        said: the user's verdicts on some of them.
    """

    tracklets: Tracklets | None = None
    kind: Literal["csv", "crops", "clips", "case"] = "csv"
    title: Annotated[str, Field(max_length=200)] = "Sightings"
    search: SearchRequest | None = None
    said: dict[Id, Said] = {}

    @model_validator(mode="after")
    def _is_something(self) -> "ExportRequest":
        if self.tracklets is None and self.search is None:
            raise ValueError("tracklets, a search, or both")
        return self


class DeletionRequest(Shape):
    """A choice of sightings to delete; all given conditions hold. Footage is never deleted.

    Args:
        tracklets: ids of sightings.
        sources: ids of files; alone, they go with all they hold.
        cameras: names of cameras.
        before: the sightings end before this time.
        after: the sightings begin after this time.
        person: id of a person of the watch list: the sightings of that person, erased, and the
            entry of the list.
        dry_run: only count.
        confirm: number of detections in the dry run.
        force: delete more than half of the gallery.
        erase: remember place and time; indexing the files again stores nobody there.
    """

    tracklets: Tracklets | None = None
    sources: Annotated[list[SourceId], Field(min_length=1, max_length=10_000)] | None = None
    cameras: Annotated[list[Name], Field(min_length=1, max_length=1000)] | None = None
    before: Seconds | None = None
    after: Seconds | None = None
    person: Id | None = None
    dry_run: bool = True
    confirm: Annotated[int, Field(ge=0)] | None = None
    force: bool = False
    erase: bool = False


class DeletionAnswer(Answer):
    """What a deletion deletes, or has deleted.

    Args:
        dry_run: whether it was only counted.
        sightings: number of sightings; 0 where whole files go.
        detections: number of detections.
        files: number of files.
        first: earliest time.
        last: latest time.
        needs_force: whether it is more than half of the gallery.
        message: the counts in words.
    """

    dry_run: bool
    sightings: int
    detections: int
    files: int
    first: float | None
    last: float | None
    needs_force: bool
    message: str


class PersonRequest(Shape):
    """A person for the watch list, or more images of a known one.

    Args:
        name: name of the person.
        of: views of the person.
        note: text of the user.
        until: end of the watch, POSIX time.
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
    of: Annotated[list[Subject], Field(min_length=1, max_length=20)]
    note: Annotated[str, Field(max_length=2000)] = ""
    until: Seconds | None = None


class ExamplesRequest(Shape):
    """More images of a person of the watch list.

    Args:
        of: views of the person.
    """

    of: Annotated[list[Subject], Field(min_length=1, max_length=20)]


class WatchedAnswer(Answer):
    """A person of the watch list.

    Args:
        id: number of the entry.
        name: name of the person.
        note: text of the user.
        since: time of the entry.
        until: end of the watch; None for no end.
        examples: number of images.
        sightings: ids of the person's sightings.
    """

    id: int
    name: str
    note: str
    since: float
    until: float | None
    examples: int
    sightings: list[int]


class Verdict(Shape):
    """What the user says of a sighting.

    Args:
        said: "same", "other", or null to take a word back.
    """

    said: Said | None
