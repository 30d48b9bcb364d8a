"""The re-ID branch alone: a model of crops, without a detector.

R crops, h x w crop size, L levels, D embedding width of a level.
"""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, Instances
from torch import nn

from clsa_search.errors import InputError
from clsa_search.modeling.criterion import CLSACriterion
from clsa_search.modeling.heads import ReIDHeads
from clsa_search.modeling.reid_branch import CropBranch, build_reid_branch
from clsa_search.wording import count_noun


@META_ARCH_REGISTRY.register()
class PersonReID(nn.Module):
    """Branch, heads and criterion of a PersonSearchRCNN under the same names, on given crops.

    Its checkpoint fills the re-ID branch of a PersonSearchRCNN.

    Args:
        reid_branch: branch with a backbone of its own.
        reid_heads: embeddings of its feature maps.
        reid_criterion: losses of the embeddings, in training.
        pixel_mean: mean of each channel.
        pixel_std: standard deviation of each channel.
    """

    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor

    @configurable
    def __init__(
        self,
        *,
        reid_branch: CropBranch,
        reid_heads: ReIDHeads,
        reid_criterion: nn.Module,
        pixel_mean: list[float],
        pixel_std: list[float],
    ) -> None:
        super().__init__()
        self.reid_branch = reid_branch
        self.reid_heads = reid_heads
        self.reid_criterion = reid_criterion
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Return the constructor arguments for a config.

        Raises:
            InputError: the branch reads the detector's features.
        """
        branch = build_reid_branch(cfg, {})
        if not isinstance(branch, CropBranch):
            raise InputError(
                f"MODEL.REID.NAME is {cfg.MODEL.REID.NAME}; expected CropBranch, because "
                "MODEL.META_ARCHITECTURE PersonReID has no detector"
            )
        return {
            "reid_branch": branch,
            "reid_criterion": CLSACriterion(cfg, list(branch.output_shape())),
            "reid_heads": ReIDHeads(cfg, branch.output_shape()),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor] | list[dict]:
        """Compute the losses in training, otherwise a detection of each whole crop.

        Args:
            batched_inputs: one dict per crop, from CropMapper: `image` (3, h, w); in training
                `person_id`; otherwise `height`, `width` of the crop, and for a query `query_ids`.

        Returns:
            In training the losses of `CLSACriterion`. Otherwise per crop a dict as
            `PersonSearchRCNN.inference` returns it: `instances` with one box, or none for a query,
            and for a query `queries`.

        Raises:
            InputError: a training batch has fewer than two crops.
        """
        if self.training and len(batched_inputs) < 2:  # batch norm needs a variance
            raise InputError(
                f"a training batch has {count_noun(len(batched_inputs), 'crop')}; expected 2 or "
                "more for each process: raise SOLVER.IMS_PER_BATCH or lower "
                "SOLVER.ACCUMULATION_STEPS"
            )
        embeddings = self.reid_heads(self.reid_branch.forward_crops(self._stack(batched_inputs)))
        if self.training:
            pids = torch.tensor([x["person_id"] for x in batched_inputs], device=self.device)
            return self.reid_criterion(embeddings, pids)
        rows = self.reid_heads.concatenate(embeddings)
        return [self._output(x, rows[i : i + 1]) for i, x in enumerate(batched_inputs)]

    def _stack(self, batched_inputs: list[dict]) -> torch.Tensor:
        crops = torch.stack([x["image"] for x in batched_inputs])
        return (crops.to(self.device, non_blocking=True) - self.pixel_mean) / self.pixel_std

    def _output(self, x: dict, embedding: torch.Tensor) -> dict[str, Instances]:
        size = x["height"], x["width"]
        box = embedding.new_tensor([[0.0, 0.0, size[1], size[0]]])
        found = Instances(
            size,
            pred_boxes=Boxes(box),
            scores=embedding.new_ones(1),
            pred_classes=torch.zeros(1, dtype=torch.int64, device=self.device),
            embeddings=embedding,
        )
        if "query_ids" not in x:
            return {"instances": found}
        query = Instances(
            size, pred_boxes=Boxes(box), query_ids=x["query_ids"], embeddings=embedding
        )
        return {"instances": found[:0], "queries": query}
