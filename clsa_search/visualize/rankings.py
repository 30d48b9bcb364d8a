"""From predictions to ranking sheets: which queries to show, and their pictures."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from clsa_search.data.image_io import read_image
from clsa_search.evaluation.metrics import Match, SearchResult, rank_galleries
from clsa_search.evaluation.predictions import Predictions
from clsa_search.evaluation.protocol import SearchProtocol
from clsa_search.evaluation.search_options import DEFAULTS, SearchOptions
from clsa_search.structures import PersonImage
from clsa_search.visualize.sheets import draw_ranking_overview, draw_ranking_sheet
from clsa_search.visualize.tiles import MatchImage, Ranking, trim_to_tile


def draw_rankings(
    predictions: Predictions,
    result: SearchResult,
    records: Sequence[dict],
    protocol: SearchProtocol,
    output_dir: str | Path,
    options: SearchOptions = DEFAULTS,
    *,
    count: int,
    top: int = 10,
) -> list[Path]:
    """Draw a sheet for each of `count` queries, `query_<id>.png`, and `rankings.png` with them all.

    The queries stand evenly spaced in the order of their average precision, from the best to the
    worst, so that the pictures flatter the model no more than its mAP does. Counts and AP are those
    of the whole ranking, of which the pictures show the `top` best.

    Args:
        predictions: whose result it is.
        result: under the protocol and the options.
        records: the dataset's.
        protocol: of the result.
        output_dir: receives the pictures.
        options: of the result.
        count: of queries, at most.
        top: of the ranking, shown.

    Returns:
        The overview, then the sheets from best to worst; nothing if there are no queries.

    Raises:
        InputError: an image cannot be read.
    """
    scenes = _Scenes(records, protocol, options, top)
    query_ids = result.query_ids[choose_queries(result.average_precision, count)].tolist()
    folder, sheets, rankings = Path(output_dir), [], []
    for query_id, ranking in scenes.show_rankings(predictions, result, query_ids):
        sheets.append(folder / f"query_{query_id}.png")
        draw_ranking_sheet(ranking, sheets[-1])
        rankings.append(ranking.trim())
    return _add_overview(folder / "rankings.png", sheets, rankings)


def draw_changes(
    sides: Mapping[str, tuple[Predictions, SearchResult]],
    records: Sequence[dict],
    protocol: SearchProtocol,
    query_ids: Sequence[int],
    output_dir: str | Path,
    options: SearchOptions = DEFAULTS,
    *,
    top: int = 10,
) -> list[Path]:
    """Draw what several predictions make of the same queries, one under the other.

    Args:
        sides: name, predictions and their result under the protocol.
        records: the dataset's.
        protocol: of the results.
        query_ids: whom to draw, in this order (`Comparison.find_most_changed`).
        output_dir: receives `change_<query id>.png`, and `changes.png` with them all.
        options: of the results.
        top: of the rankings, shown.

    Returns:
        The overview, then the sheets; nothing if there are no queries.

    Raises:
        InputError: an image cannot be read.
    """
    scenes = _Scenes(records, protocol, options, top)
    shown = [scenes.show_rankings(*side, query_ids, f", {name}") for name, side in sides.items()]
    folder, sheets, rankings = Path(output_dir), [], []
    for pair in zip(*shown, strict=True):
        query_id = pair[0][0]
        sheets.append(folder / f"change_{query_id}.png")
        rows = [ranking.trim() for _, ranking in pair]
        draw_ranking_overview(rows, sheets[-1])
        rankings += rows
    return _add_overview(folder / "changes.png", sheets, rankings)


def choose_queries(average_precision: np.ndarray, count: int) -> np.ndarray:
    """Positions (at most count,) of queries evenly spaced from the best AP to the worst.

    Of equally good queries those that come first stand first.
    """
    order = np.argsort(-average_precision, kind="stable")
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return order[places]


def _add_overview(path: Path, sheets: list[Path], rankings: Sequence[Ranking]) -> list[Path]:
    """Draw all rankings on one picture; it stands before their sheets."""
    if not rankings:
        return []
    draw_ranking_overview(rankings, path)
    return [path, *sheets]


class _Scenes:
    """The records' images, read when they are wanted, and who is found in them."""

    def __init__(
        self,
        records: Sequence[dict],
        protocol: SearchProtocol,
        options: SearchOptions,
        top: int,
    ) -> None:
        self.protocol, self.options, self.top = protocol, options, top
        self.records = {record["image_id"]: record for record in records}
        self.queries = {
            query["query_id"]: (record["image_id"], query["bbox"])
            for record in records
            for query in record.get("queries", [])
        }

    def show_rankings(
        self,
        predictions: Predictions,
        result: SearchResult,
        query_ids: Sequence[int],
        suffix: str = "",
    ) -> Iterator[tuple[int, Ranking]]:
        """Queries of the predictions and their result, each with its best matches."""
        ranked = rank_galleries(predictions, self.protocol, query_ids, self.options, top=self.top)
        for query_id, matches in zip(query_ids, ranked, strict=True):
            (place,) = np.flatnonzero(result.query_ids == query_id)
            yield (
                query_id,
                Ranking(
                    query=self.find_query(query_id),
                    matches=[self.show_match(match) for match in matches],
                    title=f"query {query_id}{suffix}",
                    verdict=f"found {result.found[place]} of {result.targets[place]}, "
                    f"AP {result.average_precision[place]:.2f}",
                ),
            )

    def find_query(self, query_id: int) -> PersonImage:
        """A query in its whole scene."""
        image_id, box = self.queries[query_id]
        return PersonImage(self._read(image_id), np.asarray(box), self._describe(image_id))

    def show_match(self, match: Match) -> MatchImage:
        """A place in a ranking, trimmed to what its tile shows."""
        match_image = MatchImage(
            image=self._read(match.image_id),
            box=match.box,
            caption=self._describe(match.image_id),
            similarity=match.similarity,
            correct=match.correct,
        )
        return trim_to_tile(match_image)

    def _describe(self, image_id: str) -> str:
        """The file's name, which says more than an id that a program gave, and the camera."""
        record = self.records[image_id]
        name = Path(record["file_name"]).stem
        return f"camera {record['cam_id']} · {name}" if "cam_id" in record else name

    def _read(self, image_id: str) -> np.ndarray:
        return read_image(self.records[image_id]["file_name"])
