"""The pairs of boxes that the losses of similarities and distances compare.

R boxes of all processes, D embedding width of a level, P identities, C = R + P columns.
"""

from typing import NamedTuple

import torch
from torch.nn import functional as F

from clsa_search.modeling.distributed import gather_rows, gather_rows_with_gradient


class LevelPairs(NamedTuple):
    """The similarities of pairs of boxes at every level.

    Args:
        similarities: {level: (R, C) float32 cosines}, lowest level first.
        same: (R, C) bool, pairs of two boxes of one person.
        different: (R, C) bool, pairs of different people.
    """

    similarities: dict[str, torch.Tensor]
    same: torch.Tensor
    different: torch.Tensor


class LevelDistances(NamedTuple):
    """The distances of each box to all others at every level.

    Args:
        distances: {level: (R, C) float32}, lowest level first.
        same: (R, C) bool, other boxes of the row's person.
        different: (R, C) bool, boxes of other people.
    """

    distances: dict[str, torch.Tensor]
    same: torch.Tensor
    different: torch.Tensor


def pair_boxes(
    embeddings: dict[str, torch.Tensor], pids: torch.Tensor, tables: dict[str, torch.Tensor]
) -> LevelPairs:
    """Pair the labeled boxes of all processes, and each with the rows of a lookup table.

    Each pair comes once. A table gives every box a partner, also in a batch where nobody appears
    twice.

    Args:
        embeddings: {level: (R of this process, D)}, lowest level first.
        pids: (R of this process,) int64; only identities from 0 on form pairs.
        tables: {level: (P, D) unit rows of the identities, zero where empty}; may be empty.
    """
    rows = _gather_units(embeddings)
    same, different = _find_pairs(gather_rows(pids), tables)
    similarities = {
        level: torch.cat([x @ others.T for others in _others(x, level, tables)], dim=1)
        for level, x in rows.items()
    }
    # the first R columns hold each pair of two boxes twice
    once = torch.ones_like(same).triu(diagonal=1)
    once[:, len(same) :] = True
    return LevelPairs(similarities, same & once, different & once)


def measure_distances(
    embeddings: dict[str, torch.Tensor],
    pids: torch.Tensor,
    tables: dict[str, torch.Tensor],
    *,
    normalize: bool,
) -> LevelDistances:
    """Measure the distances of the boxes of all processes to each other and to a lookup table.

    Args:
        embeddings: {level: (R of this process, D)}, lowest level first.
        pids: (R of this process,) int64; only identities from 0 on are compared.
        tables: {level: (P, D) unit rows of the identities, zero where empty}; may be empty.
        normalize: whether embeddings are scaled to unit length; with tables they always are.
    """
    gather = _gather_units if normalize or tables else _gather
    distances = {
        level: torch.cat([torch.cdist(x, others) for others in _others(x, level, tables)], dim=1)
        for level, x in gather(embeddings).items()
    }
    return LevelDistances(distances, *_find_pairs(gather_rows(pids), tables))


def _gather(embeddings: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the rows of all processes in float32; those of this process keep their gradient."""
    return {level: gather_rows_with_gradient(x).float() for level, x in embeddings.items()}


def _gather_units(embeddings: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {level: F.normalize(rows, dim=1) for level, rows in _gather(embeddings).items()}


def _others(rows: torch.Tensor, level: str, tables: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Return the partners of the rows of a level: the rows, and the table if there is one."""
    return [rows, tables[level]] if tables else [rows]


def _find_pairs(
    pids: torch.Tensor, tables: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which boxes and filled table rows are of the person of a box, and which of others.

    Args:
        pids: (R,) int64.
        tables: see `pair_boxes`.

    Returns:
        Two masks (R, C); a box is no pair with itself.
    """
    labeled = pids >= 0
    ids, is_partner = pids, (labeled[:, None] & labeled).fill_diagonal_(False)
    for table in list(tables.values())[:1]:  # those of all levels have the same rows
        is_filled = table.any(dim=1)
        ids = torch.cat([ids, torch.arange(len(table), device=pids.device)])
        is_partner = torch.cat([is_partner, labeled[:, None] & is_filled], dim=1)
    is_same = pids[:, None] == ids
    return is_partner & is_same, is_partner & ~is_same
