"""Boxes of images as regions for RoIAlign."""

from collections.abc import Sequence

import torch
from detectron2.structures import Boxes
from torch.nn import functional as F


def to_regions(boxes: Sequence[Boxes]) -> torch.Tensor:
    """Return regions (R, 5) of boxes per image: index of the image, then XYXY.

    Detectron2's convert_boxes_to_pooler_format does the same, but waits for a GPU.
    """
    return torch.cat([F.pad(x.tensor, (1, 0), value=i) for i, x in enumerate(boxes)])
