"""The training objective of CLSA: identity classifiers of each level and the losses between levels.

R boxes, D embedding width of a level, P identities.
"""

import torch
from detectron2.config import CfgNode, configurable
from torch import nn

from clsa_search.errors import InputError
from clsa_search.modeling.distributed import mean_count
from clsa_search.modeling.gpu_ops import send
from clsa_search.modeling.heads import LevelEmbeddings
from clsa_search.modeling.id_classifier import ID_CLASSIFIER_REGISTRY, IDClassifier
from clsa_search.modeling.losses import alignment_loss, identity_loss
from clsa_search.modeling.pair_criterion import PairCriterion
from clsa_search.modeling.registries import find_class
from clsa_search.modeling.reid_sampling import FILLER


class CLSACriterion(nn.Module):
    """Identity classifiers and losses of all levels; used in training only.

    The highest level is the source of the alignment. Its predictions (KL) and its similarities of
    the same person teach the target levels; the mistakes of all levels are decorrelated.

    Args:
        classifiers: identity classifier of each level, lowest level first; see
            ID_CLASSIFIER_REGISTRY. A model for inference needs none.
        id_weight: weight of the identity losses.
        id_levels: levels with an identity loss.
        align_weight: weight of the alignment losses.
        align_targets: levels that are aligned with the source.
        temperature: temperature T of the alignment.
        detach_source: whether the alignment has no gradient for the source.
        align_unlabeled: whether the KL also uses boxes of unknown identity.
        smoothing: label smoothing of the identity losses.
        pairs: losses of pairs of boxes; none by default.
        ramp: share of the training in which the weights of all alignment losses rise from 0.
    """

    progress: torch.Tensor

    @configurable
    def __init__(
        self,
        *,
        classifiers: dict[str, IDClassifier],
        id_weight: float,
        id_levels: list[str],
        align_weight: float,
        align_targets: list[str],
        temperature: float,
        detach_source: bool,
        align_unlabeled: bool,
        smoothing: float = 0.0,
        pairs: PairCriterion | None = None,
        ramp: float = 0.0,
    ) -> None:
        super().__init__()
        self.classifiers = nn.ModuleDict(classifiers)
        self.id_weight = id_weight
        self.id_levels = id_levels
        self.align_weight = align_weight
        self.align_targets = align_targets
        self.temperature = temperature
        self.detach_source = detach_source
        self.align_unlabeled = align_unlabeled
        self.smoothing = smoothing
        self.pairs = pairs
        self.ramp = ramp
        # set before each step of a training, so it need not be saved
        self.register_buffer("progress", torch.ones(()), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode, levels: list[str]) -> dict:
        """Return the constructor arguments for a config and its levels, lowest first."""
        reid = cfg.MODEL.REID
        id_levels = _read_choice("ID_LEVELS", reid.ID_LEVELS, levels)
        targets = _read_choice("ALIGN.TARGETS", reid.ALIGN.TARGETS, levels[:-1])
        has_kl = reid.ALIGN.WEIGHT > 0
        pulled = targets if has_kl or reid.ALIGN.SAME_PERSON_WEIGHT > 0 else []
        trained = {*id_levels, *pulled}
        if has_kl and not reid.ALIGN.DETACH_SOURCE:
            trained.add(levels[-1])
        if idle := [level for level in levels if level not in trained]:
            raise InputError(
                f"MODEL.REID.LEVELS has {idle[0]!r}, but no loss trains this level; add it to "
                f"MODEL.REID.ID_LEVELS {id_levels} or to MODEL.REID.ALIGN.TARGETS {targets}, or "
                "remove it from MODEL.REID.LEVELS"
            )
        classifier = find_class(ID_CLASSIFIER_REGISTRY, reid.CLASSIFIER, "MODEL.REID.CLASSIFIER")
        return {
            "classifiers": {level: classifier(cfg) for level in (levels if reid.NUM_IDS else ())},
            "id_weight": reid.ID_WEIGHT,
            "id_levels": id_levels,
            "align_weight": reid.ALIGN.WEIGHT,
            "align_targets": targets,
            "temperature": reid.ALIGN.TEMPERATURE,
            "detach_source": reid.ALIGN.DETACH_SOURCE,
            "align_unlabeled": reid.ALIGN.UNLABELED,
            "smoothing": reid.LABEL_SMOOTHING,
            "pairs": PairCriterion(cfg, levels, align_targets=targets, id_levels=id_levels),
            "ramp": reid.ALIGN.RAMP,
        }

    def set_progress(self, share: float) -> None:
        """Set the share of the training that is done, from 0 to 1; without a call it is 1."""
        self.progress.fill_(share)

    def forward(self, embeddings: LevelEmbeddings, pids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute the losses in float32 and update the classifiers that learn without a gradient.

        The losses are sums divided by the mean count over all processes. So several processes
        train as one process on all images would.

        Args:
            embeddings: those of `ReIDHeads`, R boxes.
            pids: (R,) int64 identities, UNLABELED (alignment at most) or FILLER (no loss).

        Returns:
            loss_id_<level> for `id_levels`, with a weight loss_align_<level> for `align_targets`,
            and the losses of `PairCriterion`.
        """
        with torch.autocast(pids.device.type, enabled=False):  # softmax needs all digits
            ranked, share = embeddings.behind_neck, self._align_share()
            logits = {
                level: classifier(ranked[level]) for level, classifier in self.classifiers.items()
            }
            losses = self._losses(logits, pids, share)
            if self.pairs is not None:
                losses |= self.pairs(embeddings, pids, self.classifiers, align_share=share)
            for level, classifier in self.classifiers.items():
                assert isinstance(classifier, IDClassifier)
                classifier.update(ranked[level], pids)
        return losses

    def _losses(
        self, logits: dict[str, torch.Tensor], pids: torch.Tensor, share: torch.Tensor | float
    ) -> dict[str, torch.Tensor]:
        labeled = pids >= 0
        aligned = pids != FILLER if self.align_unlabeled else labeled
        counts = mean_count(torch.stack([labeled.sum(), aligned.sum()]))
        # both at once, as each selection by a mask would wait for a GPU
        masks = torch.stack([labeled, aligned]).cpu()
        known, compared = (send(mask.nonzero().squeeze(1), pids.device) for mask in masks)
        losses = {}
        for level in self.id_levels:
            classifier = self.classifiers[level]
            assert isinstance(classifier, IDClassifier)
            loss = identity_loss(
                classifier.penalize(logits[level][known], pids[known]),
                pids[known],
                count=counts[0],
                smoothing=self.smoothing,
                num_ids=classifier.num_ids,
            )
            losses[f"loss_id_{level}"] = self.id_weight * loss
        if not self.align_weight:
            return losses
        source = logits[list(logits)[-1]][compared]
        source = source.detach() if self.detach_source else source
        for level in self.align_targets:
            target = logits[level][compared]
            loss = alignment_loss(source, target, temperature=self.temperature, count=counts[1])
            losses[f"loss_align_{level}"] = self.align_weight * share * loss
        return losses

    def _align_share(self) -> torch.Tensor | float:
        """Return the factor of the weights of the alignment at this step."""
        return (self.progress / self.ramp).clamp(max=1) if self.ramp else 1.0


def _read_choice(key: str, chosen: list[str], levels: list[str]) -> list[str]:
    """Return the chosen levels, or all levels for an empty choice."""
    unknown = [level for level in chosen if level not in levels]
    if unknown:
        expected = f"some of {', '.join(levels)}" if levels else "no level"
        raise InputError(f"MODEL.REID.{key} has {unknown[0]!r}; expected {expected}")
    return list(chosen) or levels
