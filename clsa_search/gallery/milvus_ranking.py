"""Exact rankings from Milvus, whose searches leave open which of equal rows they give.

Shape letters: Q queries, K matches of each, D width of a embedding, H hits.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from clsa_search.gallery.milvus_table import MAX_ROWS, Table, make_key
from clsa_search.gallery.store_records import Filter, SearchHits

NOTHING = "detection_id < 0"
_SPARE = 16  # rows asked for beyond what is wanted: equal ones seldom are more
_IMAGE_SHARE = 4  # rows asked for, for each image that is wanted
_BLOCK_HITS = 1 << 18  # of the queries that are sent together


class _Page(NamedTuple):
    ids: np.ndarray  # (H,)
    similarities: np.ndarray  # (H,)
    groups: np.ndarray  # (H,) of which one row each is wanted
    is_last: bool


def write_condition(where: Filter | None) -> str:
    """A filter in Milvus' language; a comparison with null is never true there."""
    if where is None:
        return ""
    clauses = [
        _write_choice("camera_key", where.cameras),
        _write_choice("source_key", where.sources),
        _write_bound("time >=", where.since),
        _write_bound("time <=", where.until),
        _write_bound("score >=", None if where.min_score is None else np.float32(where.min_score)),
    ]
    return " and ".join(filter(None, clauses))


def rank_rows(
    table: Table, queries: np.ndarray, k: int, condition: str, *, per_image: bool
) -> SearchHits:
    """See `GalleryStore.search`.

    Args:
        table: of the people.
        queries: (Q, D), at least one.
        k: at most MAX_ROWS.
        condition: of the rows to search.
        per_image: leave the best row of each image only.
    """
    group = "image_key" if per_image else "detection_id"
    limit = min(_IMAGE_SHARE * k if per_image else k + _SPARE, MAX_ROWS)
    size = max(1, _BLOCK_HITS // limit)
    answers = []
    for start in range(0, len(queries), size):
        block = queries[start : start + size]
        pages = _fetch(table, block, limit, condition, group)
        for query, page in zip(block, pages, strict=True):
            answers.append(_rank_one(table, query, k, condition, group, limit, page))
    count = min(len(ids) for ids, _ in answers)  # one for all, unless rows came or went meanwhile
    cut = [(ids[:count], similarities[:count]) for ids, similarities in answers]
    return SearchHits(*map(np.stack, zip(*cut, strict=True)))


def _rank_one(
    table: Table, query: np.ndarray, k: int, condition: str, group: str, limit: int, page: _Page
) -> tuple[np.ndarray, np.ndarray]:
    """Row ids and similarities of one query, from its first page and as many more as it takes."""
    taken: list[_Page] = []
    count = 0
    while True:
        best = _take_best(page, is_full=limit == MAX_ROWS)
        taken.append(best)
        count += len(best.ids)
        if count >= k or page.is_last:
            break
        limit = min(4 * limit, MAX_ROWS)
        seen = np.concatenate([part.groups for part in taken]).tolist()
        others = f"{group} not in {seen}" if seen else ""
        joined = " and ".join(filter(None, [condition, others]))
        (page,) = _fetch(table, query[None], limit, joined, group)
    ids = np.concatenate([part.ids for part in taken])
    return ids[:k], np.concatenate([part.similarities for part in taken])[:k]


def _take_best(page: _Page, *, is_full: bool) -> _Page:
    """The best row of each group, in order, as far as the page is certain.

    Rows as similar as its last may be missing from it. A full page cannot grow: it is taken as it
    is.
    """
    keep = np.ones(len(page.ids), dtype=bool)
    if not (page.is_last or is_full):
        keep = page.similarities > page.similarities[-1]
    order = np.lexsort((page.ids, -page.similarities))
    order = order[keep[order]]
    order = order[np.sort(np.unique(page.groups[order], return_index=True)[1])]
    return _Page(*(column[order] for column in page[:3]), is_last=page.is_last)


def _fetch(
    table: Table, queries: np.ndarray, limit: int, condition: str, group: str
) -> list[_Page]:
    fields = [] if group == "detection_id" else [group]
    found = table.search(queries, limit, condition, fields)
    return [_read_page(hits, limit, group) for hits in found]


def _read_page(hits: Sequence[Any], limit: int, group: str) -> _Page:
    ids = np.array([hit["detection_id"] for hit in hits], dtype=np.int64)
    similarities = np.array([hit["distance"] for hit in hits], dtype=np.float32)
    groups = ids
    if group != "detection_id":
        groups = np.array([hit["entity"][group] for hit in hits], dtype=np.int64)
    return _Page(ids, similarities, groups, is_last=len(hits) < limit)


def _write_choice(column: str, texts: Sequence[str] | None) -> str:
    if texts is None:
        return ""
    return f"{column} in {[make_key(text) for text in texts]}" if texts else NOTHING


def _write_bound(comparison: str, value: float | None) -> str:
    if value is None:
        return ""
    if np.isnan(value):
        return NOTHING
    largest = np.finfo(np.float64).max  # there is no way to write infinity
    return f"{comparison} {float(np.clip(np.float64(value), -largest, largest))!r}"
