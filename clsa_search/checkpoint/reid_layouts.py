"""Recognize complete re-ID networks, and give them the names and the config of our model."""

import re
from dataclasses import dataclass, field
from typing import Any

import torch

from clsa_search.checkpoint.onnx_embedder import read_onnx_embedder
from clsa_search.checkpoint.other_networks import ONNX_ADVICE, refuse_other_network
from clsa_search.checkpoint.presets import (
    EMBEDDERS,
    EmbedderOptions,
    EmbedderPreset,
)
from clsa_search.checkpoint.public_weights import (
    UNUSED_SUFFIXES,
    PublicEmbedder,
    Tensors,
    read_state_dict,
    refuses_damaged,
)
from clsa_search.checkpoint.reid_config import (
    LEVEL,
    PIXEL_STATISTICS,
    choose_stem,
    describe_head,
    describe_pixels,
    describe_preset,
    describe_resnet,
    has_ibn,
)
from clsa_search.checkpoint.resnet_layouts import rename_torchvision
from clsa_search.errors import InputError

_BACKBONE = "reid_branch.backbone."
_HEAD = f"reid_heads.{LEVEL}."
_EARLY = "heads.bnneck."  # called heads.bottleneck later
_GEM_P = "heads.pool_layer.p"
_RESNET_NAMES = re.compile(r"(conv1|bn1|layer\d|NL_\d)\.")


@dataclass(frozen=True)
class _Layout:
    """The names of a project's tensors.

    Args:
        resnet: prefix of the ResNet.
        neck: pattern of names in the neck.
        training: beginnings of the names of tensors without an effect on the embedding.
    """

    resnet: str
    neck: str
    training: tuple[str, ...]


LAYOUTS = {
    "fast-reid": _Layout(
        "backbone.",
        r"heads\.(bottleneck|bnneck)\.",
        ("heads.weight", "heads.classifier.", "heads.cls_layer."),
    ),
    "baseline": _Layout("base.", r"(fcneck|bottleneck)\.", ("classifier.", "base.fc.")),
    "torchreid": _Layout("", r"fc\.\d\.", ("classifier.",)),
}
"""Layouts by their name in the presets."""


@dataclass
class _Parts:
    """The tensors of a re-ID network by their use, in the names of the file.

    Args:
        resnet: ResNet, without its prefix.
        neck: neck behind the pool.
        gem_p: exponent of the pool.
        pixels: statistics of the pixels by their name in PIXEL_STATISTICS.
        is_early: whether the file is of fast-reid before September 2020, as those of its model zoo.
        dropped: names of tensors to leave out.
        left_over: names of tensors without a place.
    """

    resnet: Tensors = field(default_factory=dict)
    neck: Tensors = field(default_factory=dict)
    gem_p: torch.Tensor | None = None
    pixels: Tensors = field(default_factory=dict)
    is_early: bool = False
    dropped: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)


@refuses_damaged
def read_embedder(path: str, options: EmbedderOptions | None = None) -> PublicEmbedder:
    """Read a complete re-ID network.

    Args:
        path: see `read_state_dict`; an ONNX file ends in .onnx.
        options: choices for facts missing in the file.

    Raises:
        InputError: the file cannot be read, is no re-ID network that we can build, or has parts
            without a place; the message names the option that decides.
    """
    options = options or EmbedderOptions()
    if path.lower().endswith(".onnx"):
        return read_onnx_embedder(path, options)
    state = {
        name.removeprefix("module."): value.float()
        for name, value in read_state_dict(path).tensors.items()
        if not name.endswith(UNUSED_SUFFIXES)
    }
    if any(name.startswith("roi_heads.") for name in state):
        raise InputError(
            f"{path}: is a network that finds people; expected it after --detector or --search, "
            "and after --reid a network that compares them, such as fast-reid's market_bot_R50.pth"
        )
    refuse_other_network(path, state)
    layout = _find_layout(path, state)
    _check_options(path, state, layout, options)
    name = _choose_preset(path, layout, state, options.preset)
    parts, preset = _split(state, LAYOUTS[layout], options), EMBEDDERS[name]
    resnet, head = rename_torchvision(parts.resnet)[0], _name_head(parts, preset)
    _check_left_over(path, preset, parts)
    config = {
        **describe_resnet(path, resnet),
        **describe_head(resnet, head, preset),
        **describe_preset(preset, options, stem=choose_stem(preset, resnet, parts.is_early)),
        **describe_pixels(parts.pixels, options),
    }
    tensors = {_BACKBONE + key: value for key, value in resnet.items()}
    tensors |= {_HEAD + key: value for key, value in head.items()}
    title = f"{preset.title}, R{config['MODEL.REID.BACKBONE.RESNETS.DEPTH']}"
    title += "-ibn" if has_ibn(resnet) else ""
    return PublicEmbedder(path, title, tensors, config, _report(name, options, parts, config))


def _find_layout(path: str, state: Tensors) -> str:
    for name, layout in LAYOUTS.items():
        if f"{layout.resnet}layer1.0.conv1.weight" in state:
            return name
    raise InputError(
        f"{path}: no re-ID network is recognized in its {len(state)} tensors ("
        f"{', '.join([*state][:3])} ...); expected a ResNet of torchreid, fast-reid or the strong "
        f"baseline; for others, {ONNX_ADVICE}"
    )


def _check_options(path: str, state: Tensors, layout: str, options: EmbedderOptions) -> None:
    """Check that every option has an effect."""
    if options.output:
        raise InputError(f"{path}: --reid-output is for ONNX files; leave it out")
    if options.before_neck and not _has_neck(layout, state):
        raise InputError(f"{path}: has no neck; leave out --before-neck")
    for prefix in options.drop:
        if not any(name.startswith(prefix) for name in state):
            raise InputError(f"{path}: has no tensor of --reid-drop {prefix}; leave it out")


def _split(state: Tensors, layout: _Layout, options: EmbedderOptions) -> _Parts:
    parts = _Parts(is_early=any(name.startswith(_EARLY) for name in state))
    for name, value in state.items():
        inner = name.removeprefix(layout.resnet)
        is_neck = re.match(layout.neck, name)
        if name.startswith((*layout.training, *options.drop)):
            parts.dropped.append(name)
        elif is_neck and options.before_neck:
            parts.dropped.append(name)
        elif is_neck:
            parts.neck[name] = value
        elif name == _GEM_P:
            parts.gem_p = value.reshape(1)
        elif name in PIXEL_STATISTICS:
            parts.pixels[name] = value
        elif name.startswith(layout.resnet) and _RESNET_NAMES.match(inner):
            parts.resnet[inner] = value
        else:
            parts.left_over.append(name)
    return parts


def _choose_preset(path: str, layout: str, state: Tensors, name: str | None) -> str:
    """Return the preset with a name, if the tensors allow it, or the preset told by them."""
    choices = _list_presets(layout, state)
    name = name or _recognize_preset(layout, state)
    if name in choices:
        return name
    if name is not None:
        raise InputError(
            f"{path}: --reid-preset is {name}; expected {' or '.join(choices)}, as the names of "
            "its tensors tell"
        )
    what = (
        "a ResNet without a re-ID classifier, such as ImageNet's, which tells no people apart"
        if layout == "torchreid"
        else f"of the layout of {' and '.join(choices)}, which compute different embeddings"
    )
    raise InputError(
        f"{path}: is {what}, and its tensors do not tell how to use it; say it with "
        f"--reid-preset {' or '.join(choices)}"
    )


def _list_presets(layout: str, state: Tensors) -> list[str]:
    """Return the names of the presets allowed by the tensors of a file."""
    if layout == "torchreid":
        return ["torchreid-fc512" if _has_neck(layout, state) else "torchreid"]
    choices = [name for name, preset in EMBEDDERS.items() if preset.layout == layout]
    if layout == "fast-reid" and _has_non_local(state):
        choices.remove("fastreid-bot")
    if layout == "fast-reid" and _GEM_P not in state:
        choices.remove("fastreid-sbs")
    return choices


def _recognize_preset(layout: str, state: Tensors) -> str | None:
    """Return the name of the preset, if the tensors decide it in the files of the project."""
    if layout == "torchreid" and _has_neck(layout, state):
        return "torchreid-fc512"
    if layout == "torchreid" and any(name.startswith("classifier.") for name in state):
        return "torchreid"
    if layout == "fast-reid" and _GEM_P not in state:
        return "fastreid-agw" if _has_non_local(state) else "fastreid-bot"
    is_early = any(name.startswith(_EARLY) for name in state)
    if layout == "fast-reid" and _has_non_local(state) and not is_early:
        return "fastreid-sbs"
    return None


def _has_non_local(state: Tensors) -> bool:
    return any(name.startswith("backbone.NL_") for name in state)


def _has_neck(layout: str, state: Tensors) -> bool:
    return any(re.match(LAYOUTS[layout].neck, name) for name in state)


def _check_left_over(path: str, preset: EmbedderPreset, parts: _Parts) -> None:
    if not parts.left_over:
        return
    first = parts.left_over[0]
    more = f" (and {len(parts.left_over) - 1} more)" if len(parts.left_over) > 1 else ""
    prefixes = sorted({name.split(".")[0] for name in parts.left_over})
    drop = " ".join(f"--reid-drop {prefix}" for prefix in prefixes)
    raise InputError(
        f"{path}: {first!r}{more} is no part of {preset.title}; without it the embedding may be "
        f"another. Leave it out with {drop}, or {ONNX_ADVICE}"
    )


def _name_head(parts: _Parts, preset: EmbedderPreset) -> Tensors:
    """Return the tensors of the head in the names of `PooledHead`."""
    linear = {
        name.rpartition(".")[0]
        for name, value in parts.neck.items()
        if name.endswith(".weight") and value.dim() > 1
    }
    head = {}
    for name, value in parts.neck.items():
        module, _, last = name.rpartition(".")
        place = ("0." if module in linear else "1.") if linear else ""
        # fast-reid's FC layer is a 1 x 1 convolution
        head[f"neck.{place}{last}"] = value.flatten(1) if value.dim() > 1 else value
    if len(head) < len(parts.neck):
        parts.left_over.extend(parts.neck)
    if parts.gem_p is not None:
        head["pool.p"] = parts.gem_p
    elif preset.gem_p is not None:
        head["pool.p"] = torch.tensor([preset.gem_p])
    return head


def _report(
    name: str, options: EmbedderOptions, parts: _Parts, config: dict[str, Any]
) -> list[str]:
    """Return the lines of the report: choices made and parts left out."""
    preset = EMBEDDERS[name]
    height, width = config["MODEL.REID.CROP_SIZE"]
    lines = [
        f"preset {name}{'' if options.preset else ' (recognized)'}: crops of {height} x {width} "
        f"{config['MODEL.REID.INPUT.FORMAT']}, last stride "
        f"{config['MODEL.REID.BACKBONE.LAST_STRIDE']}, embedding of "
        f"{config['MODEL.REID.HEAD.EMBED_DIM']} numbers",
        "the file does not say crop size and last stride; --crop-size and --last-stride change "
        "those of the preset",
        f"published for {preset.title}: {preset.published}; code under {preset.license}, the "
        "training images are for research",
    ]
    if parts.is_early:
        lines.append("of fast-reid before September 2020: the max pool of the stem has padding")
    if parts.dropped:
        lines.append(f"left out: {', '.join(parts.dropped)}")
    return lines
