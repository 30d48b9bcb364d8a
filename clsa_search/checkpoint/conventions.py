"""Properties of a pretrained ResNet that its tensors do not show; imports nothing heavy."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Convention:
    """The input and the strides of a pretrained ResNet.

    Args:
        channels: order of the input's channels, such as "RGB".
        mean: mean of each channel, for pixels of 0 to 255, in the order of `channels`.
        std: standard deviation of each channel, as `mean`.
        stride_in_1x1: whether the stride of a bottleneck is in its first 1 x 1 convolution.
    """

    channels: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    stride_in_1x1: bool

    def order(self, channels: str) -> list[int]:
        """Return the position of each of `channels`, such as "BGR", in this input."""
        return [self.channels.index(channel) for channel in channels]


CONVENTIONS = {
    "torchvision": Convention("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), False),
    "msra": Convention("BGR", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0), True),
}
"""Most re-ID projects use torchvision's convention, Caffe2 and Detectron2 use MSRA's."""

CONFIG_CONVENTION = "config"
"""Name of the convention of the config itself; nothing is checked or adapted."""

CONVENTION_NAMES = (*CONVENTIONS, CONFIG_CONVENTION)
