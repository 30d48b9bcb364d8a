"""The training objective of CLSA: identity classifiers of each level and the losses between levels.

R boxes, D embedding width of a level, P identities.
"""

import torch
from detectron2.config import CfgNode, configurable
from torch import nn

from clsa_search.errors import InputError
from clsa_search.modeling.distributed import mean_count, scale_gradient
from clsa_search.modeling.id_classifier import (
    ID_CLASSIFIER_REGISTRY,
    IDClassifier,
    OIMClassifier,
)
from clsa_search.modeling.level_pairs import pair_boxes
from clsa_search.modeling.losses import (
    alignment_loss,
    decorrelation_loss,
    identity_loss,
    same_person_loss,
)
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
        same_person_weight: weight of `same_person_loss`; 0 leaves it out.
        decorrelation_weight: weight of `decorrelation_loss`; 0 leaves it out.
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
        same_person_weight: float = 0.0,
        decorrelation_weight: float = 0.0,
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
        self.same_person_weight = same_person_weight
        self.decorrelation_weight = decorrelation_weight
        self.ramp = ramp
        # set before each step of a training, so it need not be saved
        self.register_buffer("progress", torch.ones(()), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode, levels: list[str]) -> dict:
        """Return the constructor arguments for a config and its levels, lowest first."""
        reid = cfg.MODEL.REID
        id_levels = _read_choice("ID_LEVELS", reid.ID_LEVELS, levels)
        targets = _read_choice("ALIGN.TARGETS", reid.ALIGN.TARGETS, levels[:-1])
        trained = {*id_levels, *targets, *([] if reid.ALIGN.DETACH_SOURCE else levels[-1:])}
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
            "same_person_weight": reid.ALIGN.SAME_PERSON_WEIGHT,
            "decorrelation_weight": reid.ALIGN.DECORRELATION_WEIGHT,
            "ramp": reid.ALIGN.RAMP,
        }

    def set_progress(self, share: float) -> None:
        """Set the share of the training that is done, from 0 to 1; without a call it is 1."""
        self.progress.fill_(share)

    def forward(
        self, embeddings: dict[str, torch.Tensor], pids: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Compute the losses in float32 and update the classifiers that learn without a gradient.

        The losses are sums divided by the mean count over all processes. So several processes
        train as one process on all images would.

        Args:
            embeddings: {level: (R, D)} of `ReIDHeads`.
            pids: (R,) int64 identities, UNLABELED (alignment at most) or FILLER (no loss).

        Returns:
            loss_id_<level> for `id_levels`, loss_align_<level> for `align_targets`, and with
            their weights loss_same_<level> for `align_targets` and loss_decorrelation.
        """
        with torch.autocast(pids.device.type, enabled=False):  # softmax needs all digits
            logits = {
                level: classifier(embeddings[level])
                for level, classifier in self.classifiers.items()
            }
            losses = self._losses(logits, pids) | self._pair_losses(embeddings, pids)
            for level, classifier in self.classifiers.items():
                assert isinstance(classifier, IDClassifier)
                classifier.update(embeddings[level], pids)
        return losses

    def _losses(
        self, logits: dict[str, torch.Tensor], pids: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        labeled = pids >= 0
        aligned = pids != FILLER if self.align_unlabeled else labeled
        counts = mean_count(torch.stack([labeled.sum(), aligned.sum()]))
        # a selection by a mask waits for a GPU each time
        known, compared = labeled.nonzero().squeeze(1), aligned.nonzero().squeeze(1)
        losses = {}
        for level in self.id_levels:
            loss = identity_loss(logits[level][known], pids[known], count=counts[0])
            losses[f"loss_id_{level}"] = self.id_weight * loss
        source = logits[list(logits)[-1]][compared]
        source = source.detach() if self.detach_source else source
        for level in self.align_targets:
            target = logits[level][compared]
            loss = alignment_loss(source, target, temperature=self.temperature, count=counts[1])
            losses[f"loss_align_{level}"] = self._ramped(self.align_weight) * loss
        return losses

    def _pair_losses(
        self, embeddings: dict[str, torch.Tensor], pids: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Compute the losses on similarities; no pair at all gives 0 with a gradient path."""
        if not (self.same_person_weight or self.decorrelation_weight):
            return {}
        tables = {
            level: classifier.lookup_table
            for level, classifier in self.classifiers.items()
            if isinstance(classifier, OIMClassifier)
        }
        similarities, same, different = pair_boxes(embeddings, pids, tables)
        losses = {}
        if self.same_person_weight:
            source = list(similarities.values())[-1].detach()
            for level in self.align_targets:
                loss = same_person_loss(source, similarities[level], same)
                losses[f"loss_same_{level}"] = self._ramped(self.same_person_weight) * loss
        if self.decorrelation_weight:
            loss = decorrelation_loss(list(similarities.values()), different)
            losses["loss_decorrelation"] = self._ramped(self.decorrelation_weight) * loss
        return {name: scale_gradient(loss) for name, loss in losses.items()}

    def _ramped(self, weight: float) -> torch.Tensor | float:
        return weight * (self.progress / self.ramp).clamp(max=1) if self.ramp else weight


def _read_choice(key: str, chosen: list[str], levels: list[str]) -> list[str]:
    """Return the chosen levels, or all levels for an empty choice."""
    unknown = [level for level in chosen if level not in levels]
    if unknown:
        expected = f"some of {', '.join(levels)}" if levels else "no level"
        raise InputError(f"MODEL.REID.{key} has {unknown[0]!r}; expected {expected}")
    return list(chosen) or levels
