"""Embeddings of crops on a GPU, in batches of few sizes that can be replayed.

R boxes over all images, L levels, D embedding width of a level.
"""

import torch
from detectron2.structures import Boxes, ImageList
from torch.nn import functional as F

from clsa_search.modeling.gpu_ops import Tensors
from clsa_search.modeling.graphs import RecordedFunction, bucket_size
from clsa_search.modeling.heads import ReIDHeads
from clsa_search.modeling.regions import to_regions
from clsa_search.modeling.reid_branch import CropBranch

_SIZES = 12  # numbers of crops that are recorded
_LARGEST = 256 * 3 * 256 * 128  # elements of the crops: 256 of the usual size


class RecordedEmbedder:
    """Re-ID branch and heads for crops.

    Args:
        branch: branch with a backbone for crops.
        heads: heads of the branch.
    """

    def __init__(self, branch: CropBranch, heads: ReIDHeads) -> None:
        self.branch = branch
        self.heads = heads
        self.recorded = RecordedFunction(self.compute, capacity=_SIZES, max_elements=_LARGEST)

    @torch.no_grad()
    def __call__(self, images: ImageList, boxes: list[Boxes]) -> torch.Tensor:
        """Compute the unit rows (R, L * D) of boxes per image; see `ReIDBranch`."""
        regions = to_regions(boxes)
        count = len(regions)
        # a bucket is filled with empty regions, whose crops are zero
        regions = F.pad(regions, (0, 0, 0, bucket_size(count) - count))
        return self.recorded(self.branch.crop(images.tensor, regions))["embeddings"][:count]

    def compute(self, crops: torch.Tensor) -> Tensors:
        """Compute the embeddings of normalized crops (R, 3, height, width)."""
        levels = self.heads(self.branch.forward_crops(crops))
        return {"embeddings": self.heads.concatenate(levels)}
