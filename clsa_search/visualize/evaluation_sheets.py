"""Ranking sheets of evaluated predictions: choose queries, read their images, draw."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from clsa_search.data.image_io import read_image
from clsa_search.errors import InputError
from clsa_search.evaluation.gallery_ranking import RankedDetection, rank_galleries
from clsa_search.evaluation.predictions import Predictions
from clsa_search.evaluation.protocol import SearchProtocol
from clsa_search.evaluation.record_queries import image_key
from clsa_search.evaluation.search_options import DEFAULTS, SearchOptions
from clsa_search.evaluation.search_result import SearchResult
from clsa_search.structures import PersonImage
from clsa_search.visualize.ranking_sheets import draw_ranking_overview, draw_ranking_sheet
from clsa_search.visualize.tiles import MatchImage, Ranking, make_placeholder, trim_to_tile

logger = logging.getLogger(__name__)


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
    """Draw a sheet per query, `query_<id>.png`, and an overview, `rankings.png`.

    The queries are evenly spaced in the order of their average precision, from best to worst: the
    sheets show the model as good as its mAP. Counts and AP belong to the whole ranking. Unreadable
    images are logged and become placeholders.

    Args:
        predictions: predictions to draw.
        result: result of these predictions under the protocol and the options.
        records: records of the dataset.
        protocol: protocol of the result.
        output_dir: folder to write to.
        options: search options of the result.
        count: largest number of queries.
        top: number of matches to draw per query.

    Returns:
        The overview, then the sheets from best to worst; empty without queries.
    """
    builder = _RankingBuilder(records, protocol, options, top)
    query_ids = result.query_ids[choose_queries(result.average_precision, count)].tolist()
    folder = Path(output_dir)
    sheets: list[Path] = []
    rankings: list[Ranking] = []
    for query_id, ranking in builder.build(predictions, result, query_ids):
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
    """Draw the rankings of the same queries by several models below each other.

    Write `change_<query id>.png` per query and an overview, `changes.png`. Unreadable images are
    logged and become placeholders.

    Args:
        sides: name of a model to its predictions and their result under the protocol.
        records: records of the dataset.
        protocol: protocol of the results.
        query_ids: queries to draw, in this order (`Comparison.find_most_changed`).
        output_dir: folder to write to.
        options: search options of the results.
        top: number of matches to draw per query.

    Returns:
        The overview, then the sheets; empty without queries.
    """
    builder = _RankingBuilder(records, protocol, options, top)
    columns = [builder.build(*side, query_ids, f", {name}") for name, side in sides.items()]
    folder = Path(output_dir)
    sheets: list[Path] = []
    rankings: list[Ranking] = []
    for row in zip(*columns, strict=True):
        query_id = row[0][0]
        sheets.append(folder / f"change_{query_id}.png")
        trimmed = [ranking.trim() for _, ranking in row]
        draw_ranking_overview(trimmed, sheets[-1])
        rankings += trimmed
    return _add_overview(folder / "changes.png", sheets, rankings)


def choose_queries(average_precision: np.ndarray, count: int) -> np.ndarray:
    """Return positions of at most `count` queries, evenly spaced from the best AP to the worst.

    Ties keep their order.
    """
    order = np.argsort(-average_precision, kind="stable")
    ranks = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return order[ranks]


def _add_overview(path: Path, sheets: list[Path], rankings: Sequence[Ranking]) -> list[Path]:
    """Draw all rankings as one image and return its path before the given ones."""
    if not rankings:
        return []
    draw_ranking_overview(rankings, path)
    return [path, *sheets]


class _RankingBuilder:
    """Builds rankings and reads their images one by one."""

    def __init__(
        self,
        records: Sequence[dict],
        protocol: SearchProtocol,
        options: SearchOptions,
        top: int,
    ) -> None:
        self.protocol, self.options, self.top = protocol, options, top
        self.unreadable: set[str] = set()  # ids of images
        self.records = {image_key(record): record for record in records}
        self.queries = {
            query["query_id"]: (image_key(record), query["bbox"])
            for record in records
            for query in record.get("queries", [])
        }

    def build(
        self,
        predictions: Predictions,
        result: SearchResult,
        query_ids: Sequence[int],
        suffix: str = "",
    ) -> Iterator[tuple[int, Ranking]]:
        """Yield query ids with their rankings; the suffix is appended to the titles."""
        ranked = rank_galleries(predictions, self.protocol, query_ids, self.options, top=self.top)
        for query_id, matches in zip(query_ids, ranked, strict=True):
            (index,) = np.flatnonzero(result.query_ids == query_id)
            yield (
                query_id,
                Ranking(
                    query=self._load_query(query_id),
                    matches=[self._load_match(match) for match in matches],
                    title=f"query {query_id}{suffix}",
                    summary=f"found {result.found[index]} of {result.targets[index]}, "
                    f"AP {result.average_precision[index]:.2f}",
                ),
            )

    def _load_query(self, query_id: int) -> PersonImage:
        return self._load(*self.queries[query_id])

    def _load_match(self, match: RankedDetection) -> MatchImage:
        person = trim_to_tile(self._load(match.image_id, match.box))
        return MatchImage(person.image, person.box, person.caption, match.similarity, match.correct)

    def _load(self, image_id: str, box: np.ndarray | Sequence[float]) -> PersonImage:
        """Read an image, or return a placeholder and log the reason once."""
        caption = self._caption(image_id)
        try:
            image = read_image(self.records[image_id]["file_name"])
        except InputError as error:
            if image_id not in self.unreadable:
                logger.warning("not drawn: %s", error)
            self.unreadable.add(image_id)
            return make_placeholder(f"{caption}, no image")
        return PersonImage(image, np.asarray(box), caption)

    def _caption(self, image_id: str) -> str:
        """Return camera and file name, clearer to people than a generated image id."""
        record = self.records[image_id]
        name = Path(record["file_name"]).stem
        return f"camera {record['cam_id']} · {name}" if "cam_id" in record else name
