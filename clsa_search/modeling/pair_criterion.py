"""The part of the training objective that compares pairs of boxes.

R boxes, D embedding width of a level, P identities.
"""

from collections.abc import Mapping

import torch
from detectron2.config import CfgNode, configurable
from torch import nn

from clsa_search.modeling.distributed import scale_gradient
from clsa_search.modeling.heads import LevelEmbeddings
from clsa_search.modeling.id_classifier import ID_CLASSIFIER_REGISTRY, OIMClassifier
from clsa_search.modeling.level_pairs import measure_distances, pair_boxes
from clsa_search.modeling.losses import (
    batch_hard_triplet_loss,
    decorrelation_loss,
    same_person_loss,
)


class PairCriterion(nn.Module):
    """The losses of pairs of boxes: alignment of similarities between levels, and triplets.

    Each box is compared with the boxes of all processes. With OIM it is also compared with the rows
    of the lookup table; embeddings before a neck then have a table of their own.

    Args:
        align_targets: levels whose similarities of one person follow those of the highest level.
        same_person_weight: weight of `same_person_loss`; 0 leaves it out.
        decorrelation_weight: weight of `decorrelation_loss`; 0 leaves it out.
        behind_neck: whether these two losses compare the embeddings behind the neck.
        triplet_levels: levels with a triplet loss, before the neck.
        triplet_weight: weight of `batch_hard_triplet_loss`; 0 leaves it out.
        margin: margin of the triplets; 0 for a soft margin.
        normalize: whether triplets are of embeddings of unit length; with OIM they always are.
        tables: lookup tables of the embeddings before the neck, {level: table}; none without OIM or
            without a neck.
    """

    @configurable
    def __init__(
        self,
        *,
        align_targets: list[str],
        same_person_weight: float = 0.0,
        decorrelation_weight: float = 0.0,
        behind_neck: bool = False,
        triplet_levels: list[str],
        triplet_weight: float = 0.0,
        margin: float = 0.3,
        normalize: bool = False,
        tables: Mapping[str, OIMClassifier] | None = None,
    ) -> None:
        super().__init__()
        self.align_targets = align_targets
        self.same_person_weight = same_person_weight
        self.decorrelation_weight = decorrelation_weight
        self.behind_neck = behind_neck
        self.triplet_levels = triplet_levels
        self.triplet_weight = triplet_weight
        self.margin = margin
        self.normalize = normalize
        self.tables = nn.ModuleDict(tables or {})

    @classmethod
    def from_config(
        cls, cfg: CfgNode, levels: list[str], *, align_targets: list[str], id_levels: list[str]
    ) -> dict:
        """Return the constructor arguments for a config and its levels, lowest first."""
        reid = cfg.MODEL.REID
        align = reid.ALIGN.SAME_PERSON_WEIGHT or reid.ALIGN.DECORRELATION_WEIGHT
        needs_before = reid.TRIPLET.WEIGHT or (align and not reid.ALIGN.BEHIND_NECK)
        other = reid.NUM_IDS and reid.HEAD.NECK != "none"  # than the classifiers' tables
        is_oim = issubclass(ID_CLASSIFIER_REGISTRY.get(reid.CLASSIFIER), OIMClassifier)
        table_levels = levels if needs_before and other and is_oim else []
        return {
            "align_targets": align_targets,
            "same_person_weight": reid.ALIGN.SAME_PERSON_WEIGHT,
            "decorrelation_weight": reid.ALIGN.DECORRELATION_WEIGHT,
            "behind_neck": reid.ALIGN.BEHIND_NECK,
            "triplet_levels": id_levels,
            "triplet_weight": reid.TRIPLET.WEIGHT,
            "margin": reid.TRIPLET.MARGIN,
            "normalize": reid.TRIPLET.NORMALIZE,
            "tables": {level: OIMClassifier(cfg, queue_size=0) for level in table_levels},
        }

    def forward(
        self,
        embeddings: LevelEmbeddings,
        pids: torch.Tensor,
        classifiers: nn.ModuleDict,
        *,
        align_share: torch.Tensor | float = 1.0,
    ) -> dict[str, torch.Tensor]:
        """Compute the losses, and update the tables.

        Args:
            embeddings: those of `ReIDHeads`.
            pids: (R,) int64 identities; only those from 0 on form pairs.
            classifiers: identity classifier of each level.
            align_share: factor of the weights of the alignment.

        Returns:
            With their weights loss_same_<level> for `align_targets`, loss_decorrelation, and
            loss_triplet_<level> for `triplet_levels`. No pair at all gives 0 with a gradient path.
        """
        own = _read_tables(self.tables or classifiers)
        losses: dict[str, torch.Tensor] = {}
        if self.same_person_weight or self.decorrelation_weight:
            compared = embeddings.behind_neck if self.behind_neck else embeddings.before_neck
            tables = _read_tables(classifiers) if self.behind_neck else own
            losses |= self._align(compared, pids, tables, align_share)
        if self.triplet_weight:
            losses |= self._separate(embeddings.before_neck, pids, own)
        for level, table in self.tables.items():
            assert isinstance(table, OIMClassifier)
            table.update(embeddings.before_neck[level], pids)
        return {name: scale_gradient(loss) for name, loss in losses.items()}

    def _align(
        self,
        embeddings: dict[str, torch.Tensor],
        pids: torch.Tensor,
        tables: dict[str, torch.Tensor],
        share: torch.Tensor | float,
    ) -> dict[str, torch.Tensor]:
        similarities, same, different = pair_boxes(embeddings, pids, tables)
        losses = {}
        if self.same_person_weight:
            source = list(similarities.values())[-1].detach()
            for level in self.align_targets:
                loss = same_person_loss(source, similarities[level], same)
                losses[f"loss_same_{level}"] = self.same_person_weight * share * loss
        if self.decorrelation_weight:
            loss = decorrelation_loss(list(similarities.values()), different)
            losses["loss_decorrelation"] = self.decorrelation_weight * share * loss
        return losses

    def _separate(
        self,
        embeddings: dict[str, torch.Tensor],
        pids: torch.Tensor,
        tables: dict[str, torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        chosen = {level: embeddings[level] for level in self.triplet_levels}
        distances, same, different = measure_distances(
            chosen, pids, tables, normalize=self.normalize
        )
        losses = {}
        for level, values in distances.items():
            loss = batch_hard_triplet_loss(values, same, different, margin=self.margin)
            losses[f"loss_triplet_{level}"] = self.triplet_weight * loss
        return losses


def _read_tables(classifiers: nn.ModuleDict) -> dict[str, torch.Tensor]:
    return {
        level: classifier.lookup_table
        for level, classifier in classifiers.items()
        if isinstance(classifier, OIMClassifier)
    }
