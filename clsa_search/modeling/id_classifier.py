"""Identity classifiers: embeddings to logits over the training identities, in training only.

R boxes, D embedding width, P identities, Q slots of the queue.
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
Registry of identity classifiers: subclasses of IDClassifier, built from a config.
"""

MIN_NORM = 1e-2
"""Shorter embeddings are divided by this, not by their norm.

The gradient of the division is at most 1 / MIN_NORM. In float16 a tiny norm would make it overflow.
"""


class IDClassifier(nn.Module):
    """The interface of identity classifiers.

    `num_ids` is the number P of identities.
    """

    num_ids: int

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Compute logits (R, P or more) from embeddings (R, D); the first P are the identities."""
        raise NotImplementedError

    def penalize(self, logits: torch.Tensor, pids: torch.Tensor) -> torch.Tensor:
        """Return the logits of the identity loss, for classifiers with a margin; by default as is.

        Args:
            logits: those of labeled rows, (R, P or more).
            pids: (R,) int64 identities, from 0 on.
        """
        return logits

    def update(self, embeddings: torch.Tensor, pids: torch.Tensor) -> None:
        """Learn without a gradient, once in each step; by default do nothing.

        Args:
            embeddings: (R, D), any float dtype.
            pids: (R,) int64 identities, UNLABELED or FILLER.
        """


@ID_CLASSIFIER_REGISTRY.register()
class SoftmaxClassifier(nn.Linear, IDClassifier):
    """A linear layer without bias.

    Args:
        embed_dim: width D of the embeddings.
        num_ids: number P of identities.
    """

    @configurable
    def __init__(self, *, embed_dim: int, num_ids: int) -> None:
        super().__init__(embed_dim, num_ids, bias=False)
        self.num_ids = num_ids
        nn.init.normal_(self.weight, std=0.01)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Return the constructor arguments for a config."""
        return {"embed_dim": cfg.MODEL.REID.HEAD.EMBED_DIM, "num_ids": cfg.MODEL.REID.NUM_IDS}


@ID_CLASSIFIER_REGISTRY.register()
class CosineClassifier(IDClassifier):
    """Scaled cosines with a learned row of each identity; the identity loss has a margin.

    The alignment compares the cosines without the margin.
    Source: CosFace (Wang et al., CVPR 2018, arXiv 1801.09414), equation 4. A margin of 0 is a plain
    cosine softmax.

    Args:
        embed_dim: width D of the embeddings.
        num_ids: number P of identities.
        scale: factor s of the cosines.
        margin: margin m that is taken from the cosine of the true identity.
    """

    @configurable
    def __init__(self, *, embed_dim: int, num_ids: int, scale: float, margin: float) -> None:
        super().__init__()
        self.num_ids = num_ids
        self.scale = scale
        self.margin = margin
        self.weight = nn.Parameter(torch.empty(num_ids, embed_dim))
        nn.init.normal_(self.weight)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Return the constructor arguments for a config."""
        cosine = cfg.MODEL.REID.COSINE
        return {
            "embed_dim": cfg.MODEL.REID.HEAD.EMBED_DIM,
            "num_ids": cfg.MODEL.REID.NUM_IDS,
            "scale": cosine.SCALE,
            "margin": cosine.MARGIN,
        }

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Compute logits (R, P) from embeddings (R, D)."""
        unit = F.normalize(embeddings.float(), dim=1, eps=MIN_NORM)
        with torch.autocast(unit.device.type, enabled=False):
            return self.scale * unit @ F.normalize(self.weight, dim=1).T

    def penalize(self, logits: torch.Tensor, pids: torch.Tensor) -> torch.Tensor:
        """Take the margin from the true identity's logit; see `IDClassifier`."""
        margins = logits.new_full((len(logits), 1), -self.scale * self.margin)
        return logits.scatter_add(1, pids[:, None], margins)  # one_hot would wait for a GPU


@ID_CLASSIFIER_REGISTRY.register()
class OIMClassifier(IDClassifier):
    """Online instance matching: cosines with a lookup table and a circular queue.

    The table has a unit row for each identity, the queue has the latest unlabeled rows. Both are
    float32 buffers: saved, resumed and equal on all processes. If a step has several rows of an
    identity, the table learns their mean in any order of the rows.
    Source: Xiao et al., CVPR 2017 (arXiv 1604.01850), section 3.3.

    Args:
        embed_dim: width D of the embeddings.
        num_ids: number P of identities.
        queue_size: number Q of slots of the queue.
        momentum: share of the old row in the new row of an identity, in [0, 1).
        temperature: divisor of the cosines.
    """

    lookup_table: torch.Tensor
    queue: torch.Tensor
    next_slot: torch.Tensor

    @configurable
    def __init__(
        self, *, embed_dim: int, num_ids: int, queue_size: int, momentum: float, temperature: float
    ) -> None:
        super().__init__()
        self.num_ids = num_ids
        self.momentum = momentum
        self.temperature = temperature
        self.register_buffer("lookup_table", torch.zeros(num_ids, embed_dim))
        self.register_buffer("queue", torch.zeros(queue_size, embed_dim))
        self.register_buffer("next_slot", torch.zeros((), dtype=torch.int64))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Return the constructor arguments for a config."""
        oim = cfg.MODEL.REID.OIM
        return {
            "embed_dim": cfg.MODEL.REID.HEAD.EMBED_DIM,
            "num_ids": cfg.MODEL.REID.NUM_IDS,
            "queue_size": oim.QUEUE_SIZE,
            "momentum": oim.MOMENTUM,
            "temperature": oim.TEMPERATURE,
        }

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Compute logits (R, P + Q) from embeddings (R, D); 0 for rows that are still empty."""
        rows = torch.cat([self.lookup_table, self.queue])
        unit = F.normalize(embeddings.float(), dim=1, eps=MIN_NORM)
        with torch.autocast(unit.device.type, enabled=False):
            return unit @ rows.T / self.temperature

    @torch.no_grad()
    def update(self, embeddings: torch.Tensor, pids: torch.Tensor) -> None:
        """Store the rows of all processes: labeled rows in the table, unlabeled ones in the queue.

        Rows with a value that is not finite are dropped. The buffers are replaced and not written
        to, because the backward pass still reads the old ones. Nothing is selected by a mask: that
        would wait for a GPU.
        """
        rows, pids = gather_rows(embeddings.float()), gather_rows(pids)
        finite = rows.isfinite().all(dim=1)
        rows = F.normalize(rows.where(finite[:, None], 0), dim=1, eps=MIN_NORM)
        self._update_table(rows, pids, finite & (pids >= 0))
        self._enqueue(rows, finite & (pids == UNLABELED))

    def _update_table(self, rows: torch.Tensor, pids: torch.Tensor, labeled: torch.Tensor) -> None:
        same = labeled & (pids[:, None] == pids)
        with torch.autocast(rows.device.type, enabled=False):
            means = same.float() @ rows / same.sum(dim=1, keepdim=True).clamp(min=1)
        known = pids.where(labeled, 0)
        new = self.momentum * self.lookup_table[known] + (1 - self.momentum) * means
        new = F.normalize(new, dim=1, eps=MIN_NORM)
        if len(new):  # all rows of an identity write the same values
            new = new[same.byte().argmax(dim=1)]
        self.lookup_table = _replace_rows(self.lookup_table, pids, new, labeled)

    def _enqueue(self, rows: torch.Tensor, unlabeled: torch.Tensor) -> None:
        size = len(self.queue)
        if not size:
            return
        order, count = unlabeled.cumsum(0) - 1, unlabeled.sum()
        first = (count - size).clamp(min=0)  # only the latest rows find a slot
        slots = (self.next_slot + order - first) % size
        self.queue = _replace_rows(self.queue, slots, rows, unlabeled & (order >= first))
        self.next_slot = (self.next_slot + count.clamp(max=size)) % size


def _replace_rows(
    table: torch.Tensor, index: torch.Tensor, rows: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Return a copy of a table with the rows of a mask in place of those of an index."""
    spare = len(table)  # all other rows go to one more row
    longer = torch.cat([table, table.new_zeros(1, table.shape[1])])
    return longer.index_copy_(0, index.where(mask, spare), rows)[:spare]
