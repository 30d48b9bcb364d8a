"""Public re-ID networks as ONNX files: how their crops enter them.

Imports nothing heavy: commands show it in their help.
"""

from dataclasses import dataclass

from clsa_search.checkpoint.presets import IMAGENET_MEAN, IMAGENET_STD

_HALF = (127.5, 127.5, 127.5)


@dataclass(frozen=True)
class ONNXPreset:
    """The input of a public re-ID network, which its ONNX file does not show.

    Args:
        title: name of the network for people.
        crop_size: (height, width) of the crops in pixels.
        license: license of the project's code.
        published: accuracy in the project's own tables, or "not checked".
        mean: mean of each channel, for pixels of 0 to 255, in the order of `format`.
        std: standard deviation of each channel.
        format: order of the channels, "RGB" or "BGR".
    """

    title: str
    crop_size: tuple[int, int]
    license: str
    published: str
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    format: str = "RGB"


ONNX_EMBEDDERS = {
    "osnet": ONNXPreset(
        "torchreid OSNet",
        crop_size=(256, 128),
        license="MIT",
        published="osnet_x1_0: Market-1501 rank-1 94.2, mAP 82.6; MSMT17 74.9, 43.8",
    ),
    "clip-reid": ONNXPreset(
        "CLIP-ReID ViT-B/16",
        crop_size=(256, 128),
        license="see its repository",
        published="Market-1501 rank-1 95.5, mAP 89.6; MSMT17 88.7, 73.4 (not checked)",
        mean=_HALF,
        std=_HALF,
    ),
    "transreid-vit": ONNXPreset(
        "TransReID ViT",
        crop_size=(256, 128),
        license="MIT",
        published="Market-1501 rank-1 95.1, mAP 88.5; MSMT17 84.0, 66.3",
        mean=_HALF,
        std=_HALF,
    ),
    "solider-swin": ONNXPreset(
        "SOLIDER-REID Swin",
        crop_size=(384, 128),
        license="MIT",
        published="Swin Base: Market-1501 rank-1 96.9, mAP 93.9; MSMT17 90.7, 77.1",
        mean=_HALF,
        std=_HALF,
    ),
    "intel-0287": ONNXPreset(
        "Intel person-reidentification-retail-0287",
        crop_size=(256, 128),
        license="Apache-2.0",
        published="Market-1501 rank-1 92.9, mAP 76.6 (not checked)",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        format="BGR",
    ),
}
"""Presets of ONNX files by their name for --reid-preset."""
