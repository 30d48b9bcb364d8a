"""CLSA: a head per level, its identity classifier, and the losses between them.

R people, L levels, D embedding width, P identities, C channels, h x w the grid of a level.
"""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from torch import nn
from torch.nn import functional as F

from clsa_search.modeling.identity import SoftmaxClassifier
from clsa_search.modeling.losses import alignment_loss, identity_loss
from clsa_search.modeling.training_boxes import FILLER


class CLSAHead(nn.Module):
    """Global average pool, FC, norm, ReLU, FC: (R, C, h, w) features to (R, D) embeddings.

    The FC layers are 1 x 1 convolutions, so that every norm that Detectron2 knows serves here.
    """

    def __init__(self, *, in_channels: int, hidden_dim: int, embed_dim: int, norm: str) -> None:
        super().__init__()
        self.reduce = Conv2d(
            in_channels,
            hidden_dim,
            kernel_size=1,
            bias=not norm,
            norm=get_norm(norm, hidden_dim),
            activation=F.relu,
        )
        self.embed = nn.Linear(hidden_dim, embed_dim)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        hidden = self.reduce(F.adaptive_avg_pool2d(features, 1))
        return self.embed(hidden.flatten(1))


class CLSAHeads(nn.Module):
    """The heads of all levels: losses in training, descriptors otherwise.

    The last level of `input_shape` is the source; the others are targets that keep features of
    their own and are pulled toward predicting like the source.
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: dict[str, ShapeSpec],
        hidden_dim: int,
        embed_dim: int,
        norm: str,
        num_ids: int,
        id_weight: float,
        align_weight: float,
        temperature: float,
        detach_source: bool,
    ) -> None:
        """
        Args:
            input_shape: the levels, lowest first.
            hidden_dim, embed_dim, norm: of each head.
            num_ids: P; 0 builds no classifiers, which is enough for inference.
            id_weight: of each level's cross-entropy.
            align_weight, temperature: of each target's alignment.
            detach_source: whether the alignment leaves the source alone.
        """
        super().__init__()
        self.heads = nn.ModuleDict(
            {
                level: CLSAHead(
                    in_channels=shape.channels,
                    hidden_dim=hidden_dim,
                    embed_dim=embed_dim,
                    norm=norm,
                )
                for level, shape in input_shape.items()
            }
        )
        self.classifiers = nn.ModuleDict(
            {
                level: SoftmaxClassifier(embed_dim=embed_dim, num_ids=num_ids)
                for level in (input_shape if num_ids else ())
            }
        )
        self.id_weight = id_weight
        self.align_weight = align_weight
        self.temperature = temperature
        self.detach_source = detach_source

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        reid = cfg.MODEL.REID
        return {
            "input_shape": input_shape,
            "hidden_dim": reid.HEAD.HIDDEN_DIM,
            "embed_dim": reid.HEAD.EMBED_DIM,
            "norm": reid.HEAD.NORM,
            "num_ids": reid.NUM_IDS,
            "id_weight": reid.ID_WEIGHT,
            "align_weight": reid.ALIGN.WEIGHT,
            "temperature": reid.ALIGN.TEMPERATURE,
            "detach_source": reid.ALIGN.DETACH_SOURCE,
        }

    def forward(
        self, level_features: dict[str, torch.Tensor], pids: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor] | torch.Tensor:
        """
        Args:
            level_features: {level: (R, C, h, w)}.
            pids: (R,) int64 identities, UNLABELLED or FILLER; in training only.

        Returns:
            In training the dict of :meth:`losses`, otherwise descriptors (R, L * D): the unit
            embeddings of all levels, lowest first, concatenated and made unit again.
        """
        embeddings = {
            level: head(level_features[level]).float() for level, head in self.heads.items()
        }
        if self.training:
            return self.losses(embeddings, pids)
        levels = [F.normalize(embedding, dim=1) for embedding in embeddings.values()]
        return F.normalize(torch.cat(levels, dim=1), dim=1)

    def losses(
        self, embeddings: dict[str, torch.Tensor], pids: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """loss_id_<level> for every level and loss_align_<level> for every target level.

        Unlabelled people take part in the alignment only. Fillers take part in nothing.
        """
        people = pids != FILLER
        pids = pids[people]
        logits = {
            level: classifier(embeddings[level])[people]
            for level, classifier in self.classifiers.items()
        }
        *targets, top = logits
        source = logits[top].detach() if self.detach_source else logits[top]
        losses = {
            f"loss_id_{level}": self.id_weight * identity_loss(logits[level], pids)
            for level in logits
        }
        for level in targets:
            loss = alignment_loss(source, logits[level], temperature=self.temperature)
            losses[f"loss_align_{level}"] = self.align_weight * loss
        return losses
