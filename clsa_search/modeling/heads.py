"""CLSA: a head per level, its identity classifier, and the losses between them.

R people, L levels, D embedding width, P identities, C channels, h x w the grid of a level.
"""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from torch import nn
from torch.nn import functional as F

from clsa_search.errors import InputError
from clsa_search.modeling.distributed import mean_count
from clsa_search.modeling.id_classifier import ID_CLASSIFIER_REGISTRY
from clsa_search.modeling.losses import alignment_loss, identity_loss
from clsa_search.modeling.registries import find_class
from clsa_search.modeling.reid_sampling import FILLER


class CLSAHead(nn.Module):
    """Global average pool, FC, norm, ReLU, FC: (R, C, h, w) features to (R, D) embeddings.

    The FC layers are 1 x 1 convolutions, so that every norm that Detectron2 knows serves here.
    It computes in float32 under autocast too: it costs little, and an embedding of half precision
    may overflow.
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
        with torch.autocast(features.device.type, enabled=False):
            hidden = self.reduce(features.mean(dim=(2, 3), keepdim=True, dtype=torch.float32))
            return self.embed(hidden.flatten(1))


class CLSAHeads(nn.Module):
    """The heads of all levels: losses in training, embeddings otherwise.

    The last level of `input_shape` is the source; targets keep features of their own and are pulled
    toward predicting like the source.
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: dict[str, ShapeSpec],
        hidden_dim: int,
        embed_dim: int,
        norm: str,
        classifiers: dict[str, nn.Module],
        id_weight: float,
        id_levels: list[str],
        align_weight: float,
        align_targets: list[str],
        temperature: float,
        detach_source: bool,
        align_unlabeled: bool,
    ) -> None:
        """
        Args:
            input_shape: the levels, lowest first.
            hidden_dim, embed_dim, norm: of each head.
            classifiers: of each level, see ID_CLASSIFIER_REGISTRY; none is enough for inference.
            id_weight, id_levels: of the cross-entropy, and the levels that have one.
            align_weight, temperature: of each target's alignment.
            align_targets: the levels that are pulled toward the source.
            detach_source: whether the alignment leaves the source alone.
            align_unlabeled: whether people of unknown identity are aligned too.
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
        self.classifiers = nn.ModuleDict(classifiers)
        self.id_weight = id_weight
        self.id_levels = id_levels
        self.align_weight = align_weight
        self.align_targets = align_targets
        self.temperature = temperature
        self.detach_source = detach_source
        self.align_unlabeled = align_unlabeled

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        reid = cfg.MODEL.REID
        levels = list(input_shape)
        id_levels = _choose("ID_LEVELS", reid.ID_LEVELS, levels)
        targets = _choose("ALIGN.TARGETS", reid.ALIGN.TARGETS, levels[:-1])
        moved = {*id_levels, *targets, *([] if reid.ALIGN.DETACH_SOURCE else levels[-1:])}
        if idle := [level for level in levels if level not in moved]:
            raise InputError(
                f"MODEL.REID.LEVELS has {idle[0]!r}, which no loss trains: it is neither in "
                f"MODEL.REID.ID_LEVELS {id_levels} nor in MODEL.REID.ALIGN.TARGETS {targets}"
            )
        classifier = find_class(ID_CLASSIFIER_REGISTRY, reid.CLASSIFIER, "MODEL.REID.CLASSIFIER")
        return {
            "input_shape": input_shape,
            "hidden_dim": reid.HEAD.HIDDEN_DIM,
            "embed_dim": reid.HEAD.EMBED_DIM,
            "norm": reid.HEAD.NORM,
            "classifiers": {level: classifier(cfg) for level in (levels if reid.NUM_IDS else ())},
            "id_weight": reid.ID_WEIGHT,
            "id_levels": id_levels,
            "align_weight": reid.ALIGN.WEIGHT,
            "align_targets": targets,
            "temperature": reid.ALIGN.TEMPERATURE,
            "detach_source": reid.ALIGN.DETACH_SOURCE,
            "align_unlabeled": reid.ALIGN.UNLABELED,
        }

    def forward(
        self, level_features: dict[str, torch.Tensor], pids: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor] | torch.Tensor:
        """
        Args:
            level_features: {level: (R, C, h, w)}.
            pids: (R,) int64 identities, UNLABELED or FILLER; in training only.

        Returns:
            In training the dict of :meth:`losses`, otherwise embeddings (R, L * D): the unit
            embeddings of all levels, lowest first, concatenated and made unit again.
        """
        embeddings = {level: head(level_features[level]) for level, head in self.heads.items()}
        if self.training:
            with torch.autocast(pids.device.type, enabled=False):  # softmax has no digit to spare
                return self.losses(embeddings, pids)
        levels = [F.normalize(embedding, dim=1) for embedding in embeddings.values()]
        return F.normalize(torch.cat(levels, dim=1), dim=1)

    def losses(
        self, embeddings: dict[str, torch.Tensor], pids: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """loss_id_<level> and loss_align_<level> of the levels that have one.

        Unlabeled people take part in the alignment at most, fillers in nothing. Sums are divided
        by the mean count over the processes, so that several train as one would on all images.
        """
        logits = {
            level: classifier(embeddings[level]) for level, classifier in self.classifiers.items()
        }
        labeled = pids >= 0
        aligned = pids != FILLER if self.align_unlabeled else labeled
        counts = mean_count(torch.stack([labeled.sum(), aligned.sum()]))
        losses = {}
        for level in self.id_levels:
            loss = identity_loss(logits[level][labeled], pids[labeled], count=counts[0])
            losses[f"loss_id_{level}"] = self.id_weight * loss
        source = logits[next(reversed(logits))][aligned]
        source = source.detach() if self.detach_source else source
        for level in self.align_targets:
            loss = alignment_loss(
                source, logits[level][aligned], temperature=self.temperature, count=counts[1]
            )
            losses[f"loss_align_{level}"] = self.align_weight * loss
        for level, classifier in self.classifiers.items():
            classifier.update(embeddings[level], pids)
        return losses


def _choose(key: str, chosen: list[str], levels: list[str]) -> list[str]:
    """A choice of levels, all of them where it is empty."""
    unknown = [level for level in chosen if level not in levels]
    if unknown:
        raise InputError(
            f"MODEL.REID.{key} has {unknown[0]!r}; expected some of {', '.join(levels) or 'none'}"
        )
    return list(chosen) or levels
