"""From predictions to ranking sheets: which queries to show, and their pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from clsa_search.data.images import read_image
from clsa_search.evaluation.metrics import (
    Match,
    SearchResult,
    evaluate_search,
    rank_gallery,
)
from clsa_search.evaluation.predictions import Predictions
from clsa_search.evaluation.protocol import SearchProtocol
from clsa_search.evaluation.reranking import Reranker
from clsa_search.visualize.sheets import (
    RankedSighting,
    Ranking,
    Sighting,
    draw_ranking_overview,
    draw_ranking_sheet,
)


def draw_rankings(
    predictions: Predictions,
    records: Sequence[dict],
    protocol: SearchProtocol,
    output_dir: str | Path,
    *,
    count: int,
    top: int = 10,
    score_threshold: float = 0.5,
    weight_by_score: bool = False,
    reranker: Reranker | None = None,
) -> list[Path]:
    """Draw a sheet for each of `count` queries, `query_<id>.png`, and `rankings.png` with them all.

    The queries stand evenly spaced in the order of their average precision, from the best to the
    worst, so that the pictures flatter the model no more than its mAP does. Counts and AP are those
    of the whole ranking, of which the pictures show the `top` best. Options are those of
    `evaluate_search`.

    Returns:
        The overview, then the sheets from best to worst; nothing if there are no queries.

    Raises:
        InputError: an image cannot be read.
    """
    options = {
        "score_threshold": score_threshold,
        "weight_by_score": weight_by_score,
        "reranker": reranker,
    }
    result = evaluate_search(predictions, protocol, **options)
    scenes = _Scenes(records, protocol, top=top, **options)
    folder, sheets, rankings = Path(output_dir), [], []
    for query_id in result.query_ids[choose_queries(result.average_precision, count)].tolist():
        ranking = scenes.show_ranking(predictions, result, query_id, f"query {query_id}")
        sheets.append(folder / f"query_{query_id}.png")
        draw_ranking_sheet(ranking, sheets[-1])
        rankings.append(_trim(ranking))
    return _add_overview(folder / "rankings.png", sheets, rankings)


def draw_changes(
    sides: Mapping[str, tuple[Predictions, SearchResult]],
    records: Sequence[dict],
    protocol: SearchProtocol,
    query_ids: Sequence[int],
    output_dir: str | Path,
    *,
    top: int = 10,
    score_threshold: float = 0.5,
    weight_by_score: bool = False,
    reranker: Reranker | None = None,
) -> list[Path]:
    """Draw what several predictions make of the same queries, one under the other.

    Args:
        sides: name, predictions and their result under the protocol.
        records: the dataset's.
        protocol: of the results.
        query_ids: whom to draw, in this order (`Comparison.find_most_changed`).
        output_dir: receives `change_<query id>.png`, and `changes.png` with them all.
        top, score_threshold, weight_by_score, reranker: as for `draw_rankings`.

    Returns:
        The overview, then the sheets; nothing if there are no queries.

    Raises:
        InputError: an image cannot be read.
    """
    scenes = _Scenes(
        records,
        protocol,
        top=top,
        score_threshold=score_threshold,
        weight_by_score=weight_by_score,
        reranker=reranker,
    )
    folder, sheets, rankings = Path(output_dir), [], []
    for query_id in query_ids:
        pair = [
            _trim(scenes.show_ranking(*side, query_id, f"query {query_id}, {name}"))
            for name, side in sides.items()
        ]
        sheets.append(folder / f"change_{query_id}.png")
        draw_ranking_overview(pair, sheets[-1])
        rankings += pair
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


def _trim(ranking: Ranking) -> Ranking:
    """Without the query's whole scene, which only its own sheet shows."""
    return replace(ranking, query=ranking.query.trim())


class _Scenes:
    """The records' images, read when they are wanted, and who is found in them."""

    def __init__(self, records: Sequence[dict], protocol: SearchProtocol, **options: Any) -> None:
        """`options` are those of `rank_gallery`."""
        self.protocol, self.options = protocol, options
        self.records = {record["image_id"]: record for record in records}
        self.queries = {
            query["query_id"]: (record["image_id"], query["bbox"])
            for record in records
            for query in record.get("queries", [])
        }

    def show_ranking(
        self, predictions: Predictions, result: SearchResult, query_id: int, title: str
    ) -> Ranking:
        """A query of the predictions and their result, with its best matches."""
        matches = rank_gallery(predictions, self.protocol, query_id, **self.options)
        (place,) = np.flatnonzero(result.query_ids == query_id)
        return Ranking(
            query=self.find_query(query_id),
            matches=[self.show_match(match) for match in matches],
            title=title,
            verdict=f"found {result.found[place]} of {result.targets[place]}, "
            f"AP {result.average_precision[place]:.2f}",
        )

    def find_query(self, query_id: int) -> Sighting:
        """A query in its whole scene."""
        image_id, box = self.queries[query_id]
        return Sighting(self._read(image_id), np.asarray(box), self._describe(image_id))

    def show_match(self, match: Match) -> RankedSighting:
        """A place in a ranking, trimmed to what its tile shows."""
        return RankedSighting(
            image=self._read(match.image_id),
            box=match.box,
            caption=self._describe(match.image_id),
            similarity=match.similarity,
            correct=match.correct,
        ).trim()

    def _describe(self, image_id: str) -> str:
        """The file's name, which says more than an id that a program gave, and the camera."""
        record = self.records[image_id]
        name = Path(record["file_name"]).stem
        return f"camera {record['cam_id']} · {name}" if "cam_id" in record else name

    def _read(self, image_id: str) -> np.ndarray:
        return read_image(self.records[image_id]["file_name"])
