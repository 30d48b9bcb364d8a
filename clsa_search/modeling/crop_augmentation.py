"""Augmentation of crops on their device, in training only: blur and random erasing.

All random numbers come from torch's generator of the CPU. So every device gets the same ones, and
the host never waits for the device.

R crops, C channels, h x w pixels, B blurred crops.
"""

import torch
from detectron2.config import CfgNode
from torch import nn
from torch.nn import functional as F

from clsa_search.modeling.gpu_ops import send

RESOLUTIONS = tuple(i / 16 for i in range(4, 16))
"""Height and width of a blurred crop before it is scaled up again, as shares of the crop's."""

AREA = (0.02, 0.4)
"""Smallest and largest erased share of a crop."""

ASPECT = (0.3, 1 / 0.3)
"""Smallest and largest height over width of an erased rectangle."""

ATTEMPTS = 10
"""Number of rectangles drawn for a crop; the first fitting one is erased."""


def build_crop_augmentation(cfg: CfgNode) -> nn.Sequential:
    """Build the augmentation of MODEL.REID.AUGMENT; nothing is done in evaluation mode.

    Blur comes first: objects in front of a person have sharp edges.
    """
    augment = cfg.MODEL.REID.AUGMENT
    height, width = cfg.MODEL.REID.CROP_SIZE
    augmentation = nn.Sequential()
    if augment.BLUR:
        augmentation.append(RandomBlur(probability=augment.BLUR, crop_size=(height, width)))
    if augment.ERASING:
        augmentation.append(RandomErasing(probability=augment.ERASING))
    return augmentation


class RandomBlur(nn.Module):
    """Low resolution of some crops, as people far from the camera have it.

    A crop is scaled down and up again, to one of RESOLUTIONS. Both steps are linear in the rows and
    in the columns of pixels, so the crop is multiplied with two matrices.

    Args:
        probability: probability that a crop is blurred.
        crop_size: (height, width) of the crops in pixels.
    """

    row_blurs: torch.Tensor
    column_blurs: torch.Tensor

    def __init__(self, *, probability: float, crop_size: tuple[int, int]) -> None:
        super().__init__()
        self.probability = probability
        height, width = crop_size
        self.register_buffer("row_blurs", _build_blurs(height), persistent=False)
        self.register_buffer("column_blurs", _build_blurs(width), persistent=False)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Blur a share of the crops (R, C, h, w)."""
        if not self.training:
            return crops
        chosen = (torch.rand(len(crops)) < self.probability).nonzero()[:, 0]
        levels = torch.randint(len(RESOLUTIONS), (len(chosen),))
        chosen, levels = send(chosen, crops.device), send(levels, crops.device)
        rows, columns = self.row_blurs[levels], self.column_blurs[levels]
        with torch.autocast(crops.device.type, enabled=False):
            blurred = rows[:, None] @ crops[chosen].float() @ columns[:, None].mT
        return crops.index_copy(0, chosen, blurred.to(crops.dtype))


class RandomErasing(nn.Module):
    """A random rectangle of some crops becomes 0, the mean color of normalized crops.

    Source: Zhong et al., AAAI 2020 (arXiv 1708.04896), algorithm 1 with its areas and aspects.

    Args:
        probability: probability that a crop is erased in part.
    """

    def __init__(self, *, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Erase a rectangle of a share of the normalized crops (R, C, h, w)."""
        if not self.training:
            return crops
        count, _, height, width = crops.shape
        heights, widths = _draw_sizes(count, height, width)
        heights = heights * (torch.rand(count) < self.probability)
        rows = _choose_cells(height, heights, crops.device)
        columns = _choose_cells(width, widths, crops.device)
        return crops.masked_fill((rows[:, :, None] & columns[:, None])[:, None], 0.0)


def _build_blurs(size: int) -> torch.Tensor:
    """Return the matrices to scale a line of pixels down and up again, one per resolution."""
    identity = torch.eye(size)[None, None]
    blurs = []
    for resolution in RESOLUTIONS:
        small = (max(round(size * resolution), 1), size)
        scaled = F.interpolate(identity, small, mode="bilinear", antialias=True)
        blurs.append(F.interpolate(scaled, (size, size), mode="bilinear")[0, 0])
    return torch.stack(blurs)


def _draw_sizes(count: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a rectangle for each crop, smaller than the crop.

    Args:
        count: number R of crops.
        height: height of the crops in pixels.
        width: width of the crops in pixels.

    Returns:
        Heights and widths, (R,) int64 on the CPU; 0 where no attempt fits.
    """
    areas = torch.empty(count, ATTEMPTS).uniform_(*AREA) * (height * width)
    aspects = torch.empty(count, ATTEMPTS).uniform_(*ASPECT)
    heights, widths = (areas * aspects).sqrt().round(), (areas / aspects).sqrt().round()
    fits = (heights < height) & (widths < width)
    first = fits.int().argmax(dim=1, keepdim=True)
    sizes = (x.gather(1, first)[:, 0] * fits.any(dim=1) for x in (heights, widths))
    first_heights, first_widths = (x.long() for x in sizes)
    return first_heights, first_widths


def _choose_cells(count: int, lengths: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return which of n cells belong to a piece of each length at a random place, (R, n) bool."""
    starts = (torch.rand(len(lengths)) * (count - lengths + 1)).long()
    starts, stops = send(starts, device), send(starts + lengths, device)
    cells = torch.arange(count, device=device)
    return (cells >= starts[:, None]) & (cells < stops[:, None])
