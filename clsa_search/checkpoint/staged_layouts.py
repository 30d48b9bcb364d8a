"""Give the tensors of public ConvNeXt and Swin networks the names of our backbones.

C channels of a stage.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from clsa_search.checkpoint.public_weights import Tensors

SEMANTIC_WEIGHT = 0.2
"""SOLIDER's weight of meaning against looks, in its own re-ID experiments."""

_CELLS = [0, 2, 1, 3]  # places of a 2 x 2 cell, in columns, by their number in rows
_CONVNEXT_BLOCK = {
    **{"conv_dw.": "block.0.", "norm.": "block.2.", "mlp.fc1.": "block.3.", "mlp.fc2.": "block.5."},
    **{"dwconv.": "block.0.", "pwconv1.": "block.3.", "pwconv2.": "block.5."},
    "gamma": "layer_scale",
}
_SWIN_BLOCK = {
    **{"mlp.fc1.": "mlp.0.", "mlp.fc2.": "mlp.3.", "attn.w_msa.": "attn."},
    **{"ffn.layers.0.0.": "mlp.0.", "ffn.layers.1.": "mlp.3."},
}


@dataclass(frozen=True)
class StagedLayout:
    """The names of a project's tensors.

    Args:
        project: name of the project.
        architecture: "ConvNeXt" or "Swin".
        mark: end of the name of one tensor in every network of the project.
        patterns: patterns of names, and their form in our names, where {0} and {1} are the first
            two groups as numbers of a stage and a block; the first one that fits is right.
        block: beginnings of the names within a block, and ours.
    """

    project: str
    architecture: str
    mark: str
    patterns: Sequence[tuple[str, Callable[..., str]]]
    block: dict[str, str]


def _stage(offset: int = 0) -> Callable[..., str]:
    """Return the function that names a tensor of a block by stage, block and rest."""
    return lambda stage, block, rest: (
        f"res{int(stage) + offset + 2}.{int(block) + (int(stage) + offset > 0)}.{rest}"
    )


def _down(offset: int = 0) -> Callable[..., str]:
    """Return the function that names a tensor of a downsampling by the stage it leads to."""
    return lambda stage, rest: f"res{int(stage) + offset + 2}.0.{rest}"


def _torchvision_part(index: str, first: str, rest: str) -> str:
    """Name a tensor of `features`: the stem, then blocks and downsamplings in turn."""
    stage, is_block = divmod(int(index) - 1, 2)
    if index == "0":
        return f"stem.{first}{rest}"
    if is_block == 0:
        return _stage()(stage, first.rstrip("."), rest)
    return f"res{stage + 3}.0.{first}{rest}"


_TORCHVISION = [
    (r"features\.(\d+)\.(\w+\.)(.+)", _torchvision_part),
    (r"(?:classifier\.0|norm)\.(weight|bias)", "norm_res5.{}".format),
]
_OUTPUT_NORMS = (r"norm(\d)\.(.+)", lambda stage, rest: f"norm_res{int(stage) + 2}.{rest}")
_LAST_NORM = (r"(?:head\.)?norm\.(.+)", "norm_res5.{}".format)
_SWIN_STEM = [
    (r"patch_embed\.proj(?:ection)?\.(.+)", "stem.0.{}".format),
    (r"patch_embed\.norm\.(.+)", "stem.2.{}".format),
    (r"(?:layers|stages)\.(\d)\.blocks\.(\d+)\.(.+)", _stage()),
    *(_OUTPUT_NORMS, _LAST_NORM),
]
_INNER_DOWN = r"(?:layers|stages)\.(\d)\.downsample\.(.+)"

LAYOUTS = (
    StagedLayout("torchvision", "ConvNeXt", "features.1.0.block.0.weight", _TORCHVISION, {}),
    StagedLayout("torchvision", "Swin", "features.1.0.attn.qkv.weight", _TORCHVISION, {}),
    StagedLayout(
        *("timm", "ConvNeXt", "stages.0.blocks.0.conv_dw.weight"),
        [
            (r"stem\.(.+)", "stem.{}".format),
            (r"stages\.(\d)\.blocks\.(\d+)\.(.+)", _stage()),
            (r"stages\.(\d)\.downsample\.(.+)", _down()),
            _LAST_NORM,
        ],
        _CONVNEXT_BLOCK,
    ),
    StagedLayout(
        *("the ConvNeXt paper", "ConvNeXt", "stages.0.0.dwconv.weight"),
        [
            (r"downsample_layers\.0\.(.+)", "stem.{}".format),
            (r"downsample_layers\.(\d)\.(.+)", _down()),
            (r"stages\.(\d)\.(\d+)\.(.+)", _stage()),
            *(_OUTPUT_NORMS, _LAST_NORM),
        ],
        _CONVNEXT_BLOCK,
    ),
    # the Swin paper downsamples at the end of a stage, as MMDetection and SOLIDER do
    StagedLayout(
        *("the Swin paper", "Swin", "layers.0.downsample.reduction.weight"),
        [(_INNER_DOWN, _down(1)), *_SWIN_STEM],
        _SWIN_BLOCK,
    ),
    StagedLayout(
        *("SOLIDER", "Swin", "stages.0.blocks.0.attn.w_msa.qkv.weight"),
        [(_INNER_DOWN, _down(1)), *_SWIN_STEM],
        _SWIN_BLOCK,
    ),
    StagedLayout(
        *("timm", "Swin", "layers.0.blocks.0.attn.qkv.weight"),
        [(_INNER_DOWN, _down()), *_SWIN_STEM],
        _SWIN_BLOCK,
    ),
)
"""Layouts; a file has the first one whose mark it has."""


def rename_staged(state: Tensors, layout: StagedLayout) -> tuple[Tensors, dict[str, str]]:
    """Give the tensors of a network our names and shapes.

    Returns:
        Tensors by their new names, and the old name of each. The latter also has names without a
        place.
    """
    sources = {_rename(name, layout): name for name in state}
    state = {new: state[old] for new, old in sources.items()}
    if layout.project == "SOLIDER":
        _order_cells(state)
        _fold_semantics(state)
    _join_biases(state)
    for name, value in state.items():
        if name.endswith(".layer_scale"):
            state[name] = value.reshape(-1, 1, 1)
        elif re.search(r"block\.[35]\.weight$", name):  # 1 x 1 convolutions in some of timm's
            state[name] = value.flatten(1)
    return state, {name: sources.get(name, name) for name in state}


def _rename(name: str, layout: StagedLayout) -> str:
    for pattern, form in layout.patterns:
        if match := re.fullmatch(pattern, name):
            *start, rest = match.groups()
            for old, new in layout.block.items():
                if len(start) == 2 and rest.startswith(old):
                    rest = new + rest.removeprefix(old)
                    break
            return form(*start, rest)
    return name


def _order_cells(state: Tensors) -> None:
    """Order the inputs of downsamplings by place and channel, in place of channel and place."""
    for name, value in state.items():
        if re.fullmatch(r"res[345]\.0\.(norm\.(weight|bias)|reduction\.weight)", name):
            places = value.unflatten(-1, (-1, len(_CELLS)))[..., _CELLS]
            state[name] = places.transpose(-1, -2).flatten(-2)


def _fold_semantics(state: Tensors) -> None:
    """Make SOLIDER's semantic controller part of the downsamplings, in place; this is exact.

    It multiplies and shifts each channel behind a downsampling, by numbers that depend on its
    weight alone. The reduction takes the factors. Its rows are independent, so that some shift of
    the norm before it makes any shift of the channels.
    """
    weight = torch.tensor([SEMANTIC_WEIGHT, 1 - SEMANTIC_WEIGHT], dtype=torch.float64)
    for i in range(3):
        factors, shifts = (
            state.pop(f"semantic_embed_{part}.{i}.weight", torch.zeros(0, 2)).double() @ weight
            + state.pop(f"semantic_embed_{part}.{i}.bias", torch.zeros(0))
            for part in ("w", "b")
        )
        down = f"res{i + 3}.0"
        if not len(factors) or f"{down}.reduction.weight" not in state:
            continue  # MMDetection's Swin has no controller
        reduction = state[f"{down}.reduction.weight"].double() * F.softplus(factors)[:, None]
        shift = torch.linalg.lstsq(reduction, shifts[:, None]).solution[:, 0]
        state[f"{down}.reduction.weight"] = reduction.float()
        state[f"{down}.norm.bias"] = (state[f"{down}.norm.bias"].double() + shift).float()
    for part in ("w", "b"):  # those of the last stage change no output
        for value in ("weight", "bias"):
            state.pop(f"semantic_embed_{part}.3.{value}", None)


def _join_biases(state: Tensors) -> None:
    """Join the biases of query and value of a Swin V2, in place; keys have none."""
    for name in [name for name in state if name.endswith(".attn.q_bias")]:
        attention = name.removesuffix("q_bias")
        query, value = state.pop(name), state.pop(f"{attention}v_bias")
        state.pop(f"{attention}k_bias", None)
        state[f"{attention}qkv.bias"] = torch.cat([query, torch.zeros_like(query), value])
