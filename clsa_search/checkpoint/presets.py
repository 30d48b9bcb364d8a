"""Public re-ID networks: their addresses, and facts missing in their files.

Imports nothing heavy: commands show it in their help.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from clsa_search.checkpoint.conventions import CONVENTIONS

IMAGENET_MEAN = CONVENTIONS["torchvision"].mean
IMAGENET_STD = CONVENTIONS["torchvision"].std
"""Mean and standard deviation of R, G and B for pixels of 0 to 255."""


@dataclass(frozen=True)
class EmbedderPreset:
    """Properties of a public re-ID network beyond its tensors.

    Args:
        title: name of the network for people.
        layout: name of the layout of its tensors, see `reid_layouts`.
        last_stride: stride of the last stage of the ResNet.
        crop_size: (height, width) of the crops in pixels.
        stem_pool: name of the stem's max pool, see MODEL.REID.BACKBONE.STEM.POOL.
        stem_relu: whether the stem has a ReLU.
        ibn_stem: `stem_pool` and `stem_relu` of the project's ResNets with IBN, if they differ.
        gem_p: exponent of the generalized mean; None for the average. A learned one in the file
            comes first.
        license: license of the project's code.
        published: accuracy in the project's own tables.
        address: address of its files.
    """

    title: str
    layout: str
    last_stride: int
    crop_size: tuple[int, int]
    stem_pool: str
    license: str
    published: str
    address: str
    stem_relu: bool = True
    ibn_stem: tuple[str, bool] | None = None
    gem_p: float | None = None


_TORCHREID = "https://kaiyangzhou.github.io/deep-person-reid/MODEL_ZOO"
_FASTREID = "https://github.com/JDAI-CV/fast-reid/blob/master/MODEL_ZOO.md"

EMBEDDERS = {
    "torchreid": EmbedderPreset(
        "torchreid ResNet",
        layout="torchreid",
        last_stride=2,
        crop_size=(256, 128),
        stem_pool="padded",
        license="MIT",
        published="resnet50: Market-1501 rank-1 87.9, mAP 70.4; MSMT17 63.2, 33.9",
        address=_TORCHREID,
    ),
    "torchreid-fc512": EmbedderPreset(
        "torchreid ResNet with FC",
        layout="torchreid",
        last_stride=1,
        crop_size=(256, 128),
        stem_pool="padded",
        license="MIT",
        published="resnet50_fc512: Market-1501 rank-1 90.8, mAP 75.3; MSMT17 69.6, 38.4",
        address=_TORCHREID,
    ),
    "fastreid-bot": EmbedderPreset(
        "fast-reid BoT",
        layout="fast-reid",
        last_stride=1,
        crop_size=(256, 128),
        stem_pool="ceil_mode",
        license="Apache-2.0",
        published="R50: Market-1501 rank-1 94.4, mAP 86.1; MSMT17 74.1, 50.2",
        address=_FASTREID,
    ),
    "fastreid-agw": EmbedderPreset(
        "fast-reid AGW",
        layout="fast-reid",
        last_stride=1,
        crop_size=(256, 128),
        stem_pool="ceil_mode",
        gem_p=3.0,
        license="Apache-2.0",
        published="R50: Market-1501 rank-1 95.3, mAP 88.2; MSMT17 78.3, 55.6",
        address=_FASTREID,
    ),
    "fastreid-sbs": EmbedderPreset(
        "fast-reid SBS",
        layout="fast-reid",
        last_stride=1,
        crop_size=(384, 128),
        stem_pool="ceil_mode",
        gem_p=3.0,
        license="Apache-2.0",
        published="R50: Market-1501 rank-1 95.4, mAP 88.2; MSMT17 81.8, 58.4",
        address=_FASTREID,
    ),
    "strong-baseline": EmbedderPreset(
        "strong baseline",
        layout="baseline",
        last_stride=1,
        crop_size=(256, 128),
        stem_pool="padded",
        stem_relu=False,
        ibn_stem=("padded", True),
        license="MIT",
        published="ResNet-50: Market-1501 rank-1 94.5, mAP 85.9",
        address="https://github.com/michuanhaohao/reid-strong-baseline",
    ),
    "transreid": EmbedderPreset(
        "TransReID's ResNet",
        layout="baseline",
        last_stride=1,
        crop_size=(384, 128),
        stem_pool="2x2",
        stem_relu=False,
        license="MIT",
        published="none for a ResNet",
        address="https://github.com/damo-cv/TransReID",
    ),
    "solider": EmbedderPreset(
        "SOLIDER-REID's ResNet",
        layout="baseline",
        last_stride=1,
        crop_size=(384, 128),
        stem_pool="2x2",
        ibn_stem=("padded", True),
        license="MIT",
        published="none for a ResNet",
        address="https://github.com/tinyvision/SOLIDER-REID",
    ),
}
"""Presets by their name for --reid-preset."""


@dataclass(frozen=True)
class EmbedderOptions:
    """Choices of the user for facts missing in the file of a re-ID network.

    Args:
        preset: name in EMBEDDERS; None to recognize it.
        crop_size: (height, width) in pixels; None for the preset's.
        last_stride: of a ResNet, 1 or 2; None for the preset's.
        before_neck: of a ResNet, whether the embedding is that before the neck, which is left out.
        drop: of a ResNet, beginnings of the names of tensors to leave out.
        mean: mean of each channel for pixels of 0 to 255; None for the file's or the preset's.
        std: standard deviation of each channel, as `mean`.
        format: order of the channels, "RGB" or "BGR".
        output: of an ONNX file, name of the output with the embeddings; "" for the only one.
    """

    preset: str | None = None
    crop_size: tuple[int, int] | None = None
    last_stride: int | None = None
    before_neck: bool = False
    drop: Sequence[str] = ()
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    format: str | None = None
    output: str = ""
