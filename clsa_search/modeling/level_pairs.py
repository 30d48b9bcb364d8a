"""The pairs of boxes that the losses between levels compare.

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


def pair_boxes(
    embeddings: dict[str, torch.Tensor], pids: torch.Tensor, tables: dict[str, torch.Tensor]
) -> LevelPairs:
    """Pair the labeled boxes of all processes, and each with the rows of a lookup table.

    A table gives every box a partner, also in a batch where nobody appears twice.

    Args:
        embeddings: {level: (R of this process, D)}, lowest level first.
        pids: (R of this process,) int64; only identities from 0 on form pairs.
        tables: {level: (P, D) unit rows of the identities, zero where empty}; may be empty.
    """
    rows = {level: gather_rows_with_gradient(values) for level, values in embeddings.items()}
    units = {level: F.normalize(values.float(), dim=1) for level, values in rows.items()}
    pids = gather_rows(pids)
    labeled = pids >= 0
    # each pair of boxes once
    is_pair = (labeled[:, None] & labeled).triu(diagonal=1)
    is_same = pids[:, None] == pids
    similarities = {level: unit @ unit.T for level, unit in units.items()}
    if tables:
        any_table = next(iter(tables.values()))
        is_filled = any_table.any(dim=1)
        is_pair = torch.cat([is_pair, labeled[:, None] & is_filled], dim=1)
        ids = torch.arange(len(any_table), device=pids.device)
        is_same = torch.cat([is_same, pids[:, None] == ids], dim=1)
        similarities = {
            level: torch.cat([values, units[level] @ tables[level].T], dim=1)
            for level, values in similarities.items()
        }
    return LevelPairs(similarities, is_pair & is_same, is_pair & ~is_same)
