"""The config of a public re-ID network, from the shapes of its tensors and its preset."""

import re
from typing import Any

from clsa_search.checkpoint.presets import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EmbedderOptions,
    EmbedderPreset,
)
from clsa_search.checkpoint.public_weights import Tensors
from clsa_search.checkpoint.resnet_layouts import count_children
from clsa_search.errors import InputError
from clsa_search.modeling.reid_resnet import BLOCKS

EMBEDDER_KEYS = (
    *("MODEL.REID.NAME", "MODEL.REID.ONNX.OUTPUT", "MODEL.REID.HEAD.POOL", "MODEL.REID.HEAD.NECK"),
    *(f"MODEL.REID.INPUT.{x}" for x in ("FORMAT", "PIXEL_MEAN", "PIXEL_STD")),
    *(f"MODEL.REID.BACKBONE.{x}" for x in ("LAST_STRIDE", "STEM.POOL", "STEM.RELU")),
    "MODEL.REID.BACKBONE.RESNETS.STRIDE_IN_1X1",
)
"""Keys whose other values change the embedding of crops, while the tensors of a file still fit."""

LEVEL = "res5"
"""The one re-ID level of public re-ID networks."""

PIXEL_STATISTICS = ("pixel_mean", "pixel_std")
"""Names of fast-reid's buffers with mean and standard deviation of R, G and B, 0 to 255."""


def has_ibn(resnet: Tensors) -> bool:
    """Return whether a ResNet in Detectron2's names has IBN."""
    return "res2.0.conv1.norm.instance.weight" in resnet


def describe_resnet(path: str, resnet: Tensors) -> dict[str, Any]:
    """Return the config of a ResNet in Detectron2's names, as its shapes show it."""
    blocks = tuple(count_children(resnet, f"res{stage}.") for stage in range(2, 6))
    is_bottleneck = "res2.0.conv3.weight" in resnet
    depths = [d for d, known in BLOCKS.items() if known == blocks and (d >= 50) == is_bottleneck]
    needed = ("stem.conv1.weight", "res2.0.conv2.weight", "res2.0.conv1.weight")
    if not depths or any(name not in resnet for name in needed):
        raise InputError(
            f"{path}: its ResNet has {', '.join(map(str, blocks))} blocks in its stages; expected "
            f"those of a ResNet-{', '.join(map(str, BLOCKS))}"
        )
    width, per_group = resnet["res2.0.conv2.weight"].shape[:2]
    last = "res2.0.conv3.weight" if is_bottleneck else "res2.0.conv2.weight"
    counts = [
        sum(bool(re.match(rf"res{stage}\.\d+\.non_local\.g\.weight", key)) for key in resnet)
        for stage in range(2, 6)
    ]
    values = {
        "DEPTH": depths[0],
        "NORM": "BN",
        "STRIDE_IN_1X1": False,
        "STEM_OUT_CHANNELS": len(resnet["stem.conv1.weight"]),
        "RES2_OUT_CHANNELS": len(resnet[last]),
        "NUM_GROUPS": width // per_group,
        "WIDTH_PER_GROUP": per_group,
    }
    return {
        "MODEL.REID.NAME": "CropBranch",
        "MODEL.REID.LEVELS": [LEVEL],
        "MODEL.REID.BACKBONE.NAME": "build_reid_resnet_backbone",
        "MODEL.REID.BACKBONE.IBN": has_ibn(resnet),
        "MODEL.REID.BACKBONE.NON_LOCAL": counts,
        **{f"MODEL.REID.BACKBONE.RESNETS.{key}": value for key, value in values.items()},
    }


def describe_head(resnet: Tensors, head: Tensors, preset: EmbedderPreset) -> dict[str, Any]:
    """Return the config of the head."""
    neck = "none"
    if "neck.0.weight" in head:
        neck = "fc_bn_relu" if preset.layout == "torchreid" else "fc_bn"
    elif "neck.weight" in head:
        neck = "bn"
    last = max(
        (name for name in resnet if re.fullmatch(r"res5\.0\.conv\d\.weight", name)), default=""
    )
    width = head.get("neck.0.weight", resnet.get(last, ()))
    return {
        "MODEL.REID.HEAD.NAME": "PooledHead",
        "MODEL.REID.HEAD.POOL": "gem" if "pool.p" in head else "avg",
        "MODEL.REID.HEAD.NECK": neck,
        "MODEL.REID.HEAD.EMBED_DIM": len(width),
    }


def choose_stem(preset: EmbedderPreset, resnet: Tensors, is_early: bool) -> tuple[str, bool]:
    """Return the max pool of the stem and whether there is a ReLU.

    fast-reid padded its max pool until November 2020, and renamed its neck two months before.
    """
    if has_ibn(resnet) and preset.ibn_stem:
        return preset.ibn_stem
    return "padded" if is_early else preset.stem_pool, preset.stem_relu


def describe_preset(
    preset: EmbedderPreset, options: EmbedderOptions, *, stem: tuple[str, bool]
) -> dict[str, Any]:
    """Return the config of what the file does not say."""
    return {
        "MODEL.REID.CROP_SIZE": list(options.crop_size or preset.crop_size),
        "MODEL.REID.BACKBONE.LAST_STRIDE": options.last_stride or preset.last_stride,
        "MODEL.REID.BACKBONE.STEM.POOL": stem[0],
        "MODEL.REID.BACKBONE.STEM.RELU": stem[1],
    }


def describe_pixels(pixels: Tensors, options: EmbedderOptions) -> dict[str, Any]:
    """Return the config of the input: the user's statistics, the file's or those of ImageNet."""
    mean, std = (
        pixels[name].flatten().tolist() if name in pixels else [] for name in PIXEL_STATISTICS
    )
    return {
        "MODEL.REID.INPUT.FORMAT": options.format or "RGB",
        "MODEL.REID.INPUT.PIXEL_MEAN": list(options.mean or mean or IMAGENET_MEAN),
        "MODEL.REID.INPUT.PIXEL_STD": list(options.std or std or IMAGENET_STD),
    }
