"""Exact rankings from Milvus; its own searches break ties arbitrarily.

Shape letters: Q queries, K matches of each query, D embedding width, H hits.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery.input_checks import check_where
from clsa_search.gallery.milvus_table import MAX_ROWS, Table, join_conditions, make_key
from clsa_search.gallery.store_records import Filter, SearchHits

NOTHING = "id < 0"
_SPARE = 16  # hits to request beyond k: ties are seldom more
_GROUP_SHARE = 4  # hits to request for each requested group
_BLOCK_HITS = 1 << 18  # of the queries of one request


class _Page(NamedTuple):
    """Hits of one query.

    Args:
        ids: (H,).
        similarities: (H,).
        groups: (H,) number of the group, or the id; one hit of each is wanted.
        is_last: whether there are no more hits.
    """

    ids: np.ndarray
    similarities: np.ndarray
    groups: np.ndarray
    is_last: bool


def check_k(address: str, k: int) -> None:
    """Check the number of requested matches.

    Raises:
        InputError: it is larger than an answer of Milvus.
    """
    if k > MAX_ROWS:
        raise InputError(f"{address}: k: {k}; expected at most {MAX_ROWS}, the limit of Milvus")


def write_condition(where: Filter | None, *, first: str = "time", last: str = "time") -> str:
    """Return a filter in the language of Milvus; comparisons with null are false there.

    Args:
        where: the filter.
        first: column of the first time.
        last: column of the last time.
    """
    check_where(where)
    if where is None:
        return ""
    min_score = None if where.min_score is None else float(np.float32(where.min_score))
    return join_conditions(
        _write_choice("camera_key", where.cameras),
        _write_choice("source_key", where.sources),
        _write_bound(f"{last} >=", where.since),
        _write_bound(f"{first} <=", where.until),
        _write_bound("score >=", min_score),
    )


def rank_rows(
    table: Table, queries: np.ndarray, k: int, condition: str, *, group: str
) -> SearchHits:
    """Find the most similar detections or tracklets; see `GalleryStore.search_ids`.

    Args:
        table: collection of the detections or tracklets.
        queries: (Q, D), at least one.
        k: at most MAX_ROWS.
        condition: condition on the rows.
        group: column; only the best row of each value is kept.
    """
    limit = min(k + _SPARE if group == "id" else _GROUP_SHARE * k, MAX_ROWS)
    size = max(1, _BLOCK_HITS // limit)
    rankings = []
    for start in range(0, len(queries), size):
        block = queries[start : start + size]
        pages = _fetch(table, block, limit, condition, group)
        for query, page in zip(block, pages, strict=True):
            rankings.append(_rank_one(table, query, k, condition, group, limit, page))
    count = min(len(ids) for ids, _ in rankings)  # they differ if other processes add or delete
    cut = [(ids[:count], similarities[:count]) for ids, similarities in rankings]
    ids, similarities = map(np.stack, zip(*cut, strict=True))
    return SearchHits(ids, similarities)


def _rank_one(
    table: Table, query: np.ndarray, k: int, condition: str, group: str, limit: int, page: _Page
) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and similarities of one query from its first page and further ones."""
    best: list[_Page] = []
    count = 0
    while True:
        best.append(_select_best(page, is_full=limit == MAX_ROWS))
        count += len(best[-1].ids)
        if count >= k or page.is_last:
            break
        limit = min(4 * limit, MAX_ROWS)
        seen = np.concatenate([part.groups for part in best]).tolist()
        others = f"{group} not in {seen}" if seen else ""
        (page,) = _fetch(table, query[None], limit, join_conditions(condition, others), group)
    ids = np.concatenate([part.ids for part in best])
    return ids[:k], np.concatenate([part.similarities for part in best])[:k]


def _select_best(page: _Page, *, is_full: bool) -> _Page:
    """Return the best hit of each group, in order, as far as the page is certain.

    Hits as similar as the last one may be missing from the page: these hits are dropped. A full
    page cannot grow: it keeps them.
    """
    keep = np.ones(len(page.ids), dtype=bool)
    if not (page.is_last or is_full):
        keep = page.similarities > page.similarities[-1]
    order = np.lexsort((page.ids, -page.similarities))
    order = order[keep[order]]
    order = order[np.sort(np.unique(page.groups[order], return_index=True)[1])]
    return _Page(page.ids[order], page.similarities[order], page.groups[order], page.is_last)


def _fetch(
    table: Table, queries: np.ndarray, limit: int, condition: str, group: str
) -> list[_Page]:
    fields = [] if group == "id" else [group]
    found = table.search(queries, limit, condition, fields)
    return [_read_page(hits, limit, group) for hits in found]


def _read_page(hits: Sequence[Any], limit: int, group: str) -> _Page:
    ids = np.array([hit["id"] for hit in hits], dtype=np.int64)
    similarities = np.array([hit["distance"] for hit in hits], dtype=np.float32)
    groups = ids
    if group != "id":
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
    largest = np.finfo(np.float64).max  # Milvus has no literal for infinity
    return f"{comparison} {float(np.clip(np.float64(value), -largest, largest))!r}"
