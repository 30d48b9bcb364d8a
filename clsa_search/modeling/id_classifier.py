"""Identity classifiers: embeddings to logits over the training identities, in training only.

R people, D embedding width, P identities, Q places of the queue.
"""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.utils.registry import Registry
from torch import nn
from torch.nn import functional as F

from clsa_search.modeling.distributed import gather_rows
from clsa_search.structures import UNLABELED

ID_CLASSIFIER_REGISTRY = Registry("IDENTITY")
ID_CLASSIFIER_REGISTRY.__doc__ = """
Modules built from a config that have

- forward(embeddings (R, D)): logits (R, P or more) of which the first P are the identities;
- update(embeddings, pids (R,)): what they learn without a gradient, called once a step, with
  UNLABELED people among the rows.
"""

EPSILON = 1e-2
"""Embeddings shorter than this are not stretched to unit length.

It bounds the gradient of the stretching by 100: in float16 one of a tiny embedding would overflow.
"""


@ID_CLASSIFIER_REGISTRY.register()
class SoftmaxClassifier(nn.Linear):
    """A linear layer without bias."""

    @configurable
    def __init__(self, *, embed_dim: int, num_ids: int) -> None:
        super().__init__(embed_dim, num_ids, bias=False)
        nn.init.normal_(self.weight, std=0.01)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        return {"embed_dim": cfg.MODEL.REID.HEAD.EMBED_DIM, "num_ids": cfg.MODEL.REID.NUM_IDS}

    @property
    def num_ids(self) -> int:
        return self.out_features

    def update(self, embeddings: torch.Tensor, pids: torch.Tensor) -> None:
        """Its weights learn by gradient."""


@ID_CLASSIFIER_REGISTRY.register()
class OIMClassifier(nn.Module):
    """Online instance matching: cosines with a memory of what each identity looked like.

    A table holds a unit row per identity, a circular queue those of the latest unlabeled people.
    Both are buffers in float32: saved, resumed, and equal on all processes, since each learns from
    the rows of all. Source: Xiao et al., CVPR 2017 (arXiv 1604.01850), section 3.3; an identity
    that a step saw several times learns the mean of its rows, whatever their order.
    """

    @configurable
    def __init__(
        self, *, embed_dim: int, num_ids: int, queue_size: int, momentum: float, temperature: float
    ) -> None:
        """
        Args:
            embed_dim, num_ids, queue_size: D, P, Q.
            momentum: share of its old row that an identity keeps, in [0, 1).
            temperature: what cosines are divided by.
        """
        super().__init__()
        self.num_ids = num_ids
        self.momentum = momentum
        self.temperature = temperature
        self.register_buffer("table", torch.zeros(num_ids, embed_dim))
        self.register_buffer("queue", torch.zeros(queue_size, embed_dim))
        self.register_buffer("next_place", torch.zeros((), dtype=torch.int64))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        oim = cfg.MODEL.REID.OIM
        return {
            "embed_dim": cfg.MODEL.REID.HEAD.EMBED_DIM,
            "num_ids": cfg.MODEL.REID.NUM_IDS,
            "queue_size": oim.QUEUE_SIZE,
            "momentum": oim.MOMENTUM,
            "temperature": oim.TEMPERATURE,
        }

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """(R, D) embeddings to (R, P + Q) logits; those of rows not yet learned are 0."""
        memory = torch.cat([self.table, self.queue])
        unit = F.normalize(embeddings.float(), dim=1, eps=EPSILON)
        with torch.autocast(unit.device.type, enabled=False):
            return unit @ memory.T / self.temperature

    @torch.no_grad()
    def update(self, embeddings: torch.Tensor, pids: torch.Tensor) -> None:
        """Learn the rows of all processes: labeled ones into the table, others into the queue.

        Rows that are not finite are left out. The buffers are replaced, not written to: the
        backward pass still reads the old ones.
        """
        rows, pids = gather_rows(embeddings.float()), gather_rows(pids)
        finite = rows.isfinite().all(dim=1)
        rows, pids = F.normalize(rows[finite], dim=1, eps=EPSILON), pids[finite]
        self._learn(rows[pids >= 0], pids[pids >= 0])
        self._enqueue(rows[pids == UNLABELED])

    def _learn(self, rows: torch.Tensor, pids: torch.Tensor) -> None:
        seen, slot, counts = pids.unique(return_inverse=True, return_counts=True)
        sums = rows.new_zeros(len(seen), rows.shape[1]).index_add(0, slot, rows)
        means = sums / counts.unsqueeze(1)
        learned = self.momentum * self.table[seen] + (1 - self.momentum) * means
        self.table = self.table.index_copy(0, seen, F.normalize(learned, dim=1, eps=EPSILON))

    def _enqueue(self, rows: torch.Tensor) -> None:
        size = len(self.queue)
        if not size:
            return
        rows = rows[-size:]
        places = (self.next_place + torch.arange(len(rows), device=rows.device)) % size
        self.queue = self.queue.index_copy(0, places, rows)
        self.next_place = (self.next_place + len(rows)) % size
