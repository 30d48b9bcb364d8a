"""Read the backbone in a checkpoint of another project, in the names of ours."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from detectron2.checkpoint.c2_model_loading import convert_c2_detectron_names

from clsa_search.checkpoint.conventions import CONFIG_CONVENTION
from clsa_search.checkpoint.other_networks import name_other_network
from clsa_search.checkpoint.public_weights import (
    UNUSED_SUFFIXES,
    Tensors,
    read_state_dict,
    refuses_damaged,
)
from clsa_search.checkpoint.resnet_layouts import rename_torchvision
from clsa_search.checkpoint.staged_layouts import LAYOUTS, rename_staged
from clsa_search.errors import InputError

CONSTANTS = ("relative_position_index", "relative_coords_table", "attn_mask")
"""Ends of the names of tensors that follow from the size of a network."""

_CHOSEN = ("encoder_q.", "teacher.")
"""Part of the prefix of the network to take from a self-supervised pair, such as MoCo's."""

_ARCHITECTURES = {
    "stem.conv3.weight": "CLIP ResNet",
    "stem.conv1.weight": "ResNet",
    "res2.0.block.0.weight": "ConvNeXt",
    "res2.0.attn.qkv.weight": "Swin",
}
"""Architectures by the name of a tensor of our backbones."""

TIMM, _TIMM_PREFIX = "network of timm", "network."
"""Architecture of a network that keeps timm's names, and the beginning of its names in ours."""


@dataclass(frozen=True)
class PretrainedBackbone:
    """A backbone in our names (stem.conv1.weight, res2.0.conv1.norm.bias, ...), float32.

    Args:
        path: path of the checkpoint.
        architecture: "ResNet", "CLIP ResNet", "ConvNeXt", "Swin" or TIMM.
        tensors: tensors by our names.
        sources: names in the file by our names.
        unused: names in the file outside of the backbone.
        convention: one of CONVENTION_NAMES.
    """

    path: str
    architecture: str
    tensors: Tensors
    sources: dict[str, str]
    unused: list[str]
    convention: str

    @property
    def has_folded_norms(self) -> bool:
        """Whether the statistics of a ResNet's norms are part of their scale and shift."""
        if "ResNet" not in self.architecture:
            return False
        means = (v for k, v in self.tensors.items() if k.endswith(".running_mean"))
        scales = (v for k, v in self.tensors.items() if k.endswith(".norm.weight"))
        # an untrained network has no statistics either, but its scales are 1
        return not any(mean.any() for mean in means) and any((s != 1).any() for s in scales)


def find_architecture(names: Iterable[str]) -> str | None:
    """Return the architecture of a backbone with our names; None for one of another project."""
    names = set(names)
    if any(name.startswith(_TIMM_PREFIX) for name in names):
        return TIMM
    return next((kind for mark, kind in _ARCHITECTURES.items() if mark in names), None)


@refuses_damaged
def read_backbone(
    path: str, *, backbone: str, convention: str | None = None, names: Sequence[str] = ()
) -> PretrainedBackbone:
    """Read the backbone of a checkpoint file under any prefix.

    Args:
        path: see `read_state_dict`; tensors have the names of torchvision, Detectron2 or Caffe2,
            or for ConvNeXt and Swin those of LAYOUTS.
        backbone: name of the model's backbone, to select one of several in the file.
        convention: one of CONVENTION_NAMES; by default the usual one for the names in the file.
        names: names of the tensors in the model's backbone; a network of timm has those of a file.

    Raises:
        InputError: the file cannot be read, has no backbone, or has several.
    """
    file = read_state_dict(path)
    pairs = file.tensors.items()
    unwanted = UNUSED_SUFFIXES + CONSTANTS
    state = {name: value for name, value in pairs if not name.endswith(unwanted)}
    if find_architecture(names) == TIMM:
        naming = _find_timm_naming(path, state, names)
    else:
        naming = _find_naming(path, state, file.author)
    prefix = _find_prefix(path, state, naming.mark, backbone)
    own = {k.removeprefix(prefix): v.float() for k, v in state.items() if k.startswith(prefix)}
    tensors, sources = naming.rename(own)
    usual = naming.convention
    architecture = naming.architecture or find_architecture(tensors) or "ResNet"
    if architecture == "CLIP ResNet":
        usual = CONFIG_CONVENTION  # CLIP and PLIP have the same names and other pixels
    return PretrainedBackbone(
        path=path,
        architecture=architecture,
        tensors=tensors,
        sources={name: prefix + source for name, source in sources.items()},
        unused=[name for name in state if not name.startswith(prefix)],
        convention=convention or usual,
    )


@dataclass(frozen=True)
class _Naming:
    """A family of tensor names.

    Args:
        mark: end of a name in every network of the family.
        rename: state dict to tensors in our names and the old name of each.
        convention: usual convention of the family.
        architecture: see `PretrainedBackbone`; "" for one of the ResNets.
    """

    mark: str
    rename: Callable[[Tensors], tuple[Tensors, dict[str, str]]]
    convention: str
    architecture: str = ""


def _keep_names(state: Tensors) -> tuple[Tensors, dict[str, str]]:
    return state, {name: name for name in state}


def _find_timm_naming(path: str, state: Tensors, names: Sequence[str]) -> _Naming:
    mark = names[0].removeprefix(_TIMM_PREFIX)
    if not any(name.endswith(mark) for name in state):
        raise InputError(
            f"{path}: holds {name_other_network(state) or 'another network'} with tensors such as "
            f"{', '.join([*state][:3])}; expected timm's weights of the network that TIMM.NAME of "
            f"the config says, with {mark}"
        )
    return _Naming(mark, _add_timm_prefix, "torchvision", TIMM)


def _add_timm_prefix(state: Tensors) -> tuple[Tensors, dict[str, str]]:
    sources = {_TIMM_PREFIX + name: name for name in state}
    return {new: state[old] for new, old in sources.items()}, sources


def _find_naming(path: str, state: Tensors, author: str) -> _Naming:
    # Detectron2's converter of torchvision's models writes its author into the file
    author_convention = "torchvision" if author == "torchvision" else "msra"
    namings = [
        _Naming("layer1.0.conv1.weight", rename_torchvision, "torchvision"),
        _Naming("res2.0.conv1.weight", _keep_names, author_convention),
        _Naming("res2_0_branch2a_w", convert_c2_detectron_names, "msra"),
    ]
    for layout in LAYOUTS:
        rename = partial(rename_staged, layout=layout)
        namings.append(_Naming(layout.mark, rename, "torchvision", layout.architecture))
    namings += [
        _Naming(mark, _keep_names, "torchvision", architecture)
        for mark, architecture in _ARCHITECTURES.items()
        if "ResNet" not in architecture
    ]
    for naming in namings:
        if any(name.endswith(naming.mark) for name in state):
            return naming
    network = name_other_network(state) or "another network"
    raise InputError(
        f"{path}: holds no ResNet, ConvNeXt or Swin of a known project, but {network}: "
        f"{len(state)} tensors such as {', '.join([*state][:3])}"
    )


def _find_prefix(path: str, state: Tensors, mark: str, backbone: str) -> str:
    prefixes = [name.removesuffix(mark) for name in state if name.endswith(mark)]
    for part in (f"{backbone}.", *_CHOSEN):
        if len(prefixes) > 1:
            prefixes = [prefix for prefix in prefixes if part in prefix] or prefixes
    if len(prefixes) > 1:
        raise InputError(
            f"{path}: holds several backbones, under {', '.join(prefixes)}; save one of them alone"
        )
    return prefixes[0]
