"""The normalization of crops for a re-ID backbone with other pixel statistics than the detector.

R crops, h x w pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from detectron2.config import CfgNode
from torch import nn


class CropNormalization(nn.Module):
    """Change from one normalization of pixels to another; exact, an affine map of each channel.

    Args:
        mean: mean of each channel in the crops, for pixels of 0 to 255.
        std: standard deviation of each channel, as `mean`.
        new_mean: mean of each channel in the output.
        new_std: standard deviation of each channel in the output.
        flip: whether the output has the channels in the other order; the new values are in it.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(
        self,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        new_mean: Sequence[float],
        new_std: Sequence[float],
        flip: bool,
    ) -> None:
        super().__init__()
        self.flip = flip
        old = [torch.tensor(values, dtype=torch.float64) for values in (mean, std)]
        old_mean, old_std = (values.flip(0) if flip else values for values in old)
        divisor = torch.tensor(new_std, dtype=torch.float64)
        shift = (old_mean - torch.tensor(new_mean, dtype=torch.float64)) / divisor
        for name, values in (("scale", old_std / divisor), ("shift", shift)):
            self.register_buffer(name, values.float().view(-1, 1, 1), persistent=False)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Normalize crops (R, 3, h, w) anew."""
        crops = crops.flip(1) if self.flip else crops
        return crops * self.scale + self.shift


class CropInput(NamedTuple):
    """The pixels that a re-ID backbone expects.

    Args:
        format: order of the channels, "RGB" or "BGR".
        mean: mean of each channel, for pixels of 0 to 255.
        std: standard deviation of each channel, as `mean`.
    """

    format: str
    mean: list[float]
    std: list[float]


def read_crop_input(cfg: CfgNode) -> CropInput:
    """Return MODEL.REID.INPUT, with the detector's values in place of empty ones."""
    wanted = cfg.MODEL.REID.INPUT
    channels = wanted.FORMAT or cfg.INPUT.FORMAT
    order = slice(None, None, 1 if channels == cfg.INPUT.FORMAT else -1)
    mean = list(wanted.PIXEL_MEAN) or list(cfg.MODEL.PIXEL_MEAN)[order]
    return CropInput(channels, mean, list(wanted.PIXEL_STD) or list(cfg.MODEL.PIXEL_STD)[order])


def build_crop_normalization(cfg: CfgNode) -> nn.Module:
    """Build the change from the detector's normalization to that of MODEL.REID.INPUT."""
    wanted = read_crop_input(cfg)
    mean, std = list(cfg.MODEL.PIXEL_MEAN), list(cfg.MODEL.PIXEL_STD)
    flip = wanted.format != cfg.INPUT.FORMAT
    if not flip and (wanted.mean, wanted.std) == (mean, std):
        return nn.Identity()
    return CropNormalization(
        mean=mean, std=std, new_mean=wanted.mean, new_std=wanted.std, flip=flip
    )
