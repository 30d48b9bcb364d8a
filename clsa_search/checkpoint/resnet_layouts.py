"""Read the ResNet in a checkpoint of another project, in Detectron2's names."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from detectron2.checkpoint.c2_model_loading import convert_c2_detectron_names

from clsa_search.checkpoint.public_weights import UNUSED_SUFFIXES, Tensors, read_state_dict
from clsa_search.errors import InputError


@dataclass(frozen=True)
class PretrainedResNet:
    """A ResNet in Detectron2's names (stem.conv1.weight, res2.0.conv1.norm.bias, ...), float32.

    Args:
        path: path of the checkpoint.
        tensors: tensors by Detectron2's names.
        sources: names in the file by Detectron2's names.
        unused: names in the file outside of the ResNet.
        convention: one of CONVENTION_NAMES.
    """

    path: str
    tensors: Tensors
    sources: dict[str, str]
    unused: list[str]
    convention: str

    @property
    def has_folded_norms(self) -> bool:
        """Whether the statistics of the norms are part of their scale and shift."""
        means = (v for k, v in self.tensors.items() if k.endswith(".running_mean"))
        scales = (v for k, v in self.tensors.items() if k.endswith(".norm.weight"))
        # an untrained network has no statistics either, but its scales are 1
        return not any(mean.any() for mean in means) and any((s != 1).any() for s in scales)


def read_resnet(path: str, *, backbone: str, convention: str | None = None) -> PretrainedResNet:
    """Read the ResNet of a checkpoint file under any prefix.

    Args:
        path: see `read_state_dict`; tensors have the names of torchvision, Detectron2 or Caffe2.
        backbone: name of the model's backbone, to select one of several ResNets in the file.
        convention: one of CONVENTION_NAMES; by default the usual one for the names in the file.

    Raises:
        InputError: the file cannot be read, has no ResNet, or has several.
    """
    file = read_state_dict(path)
    pairs = file.tensors.items()
    state = {name: value for name, value in pairs if not name.endswith(UNUSED_SUFFIXES)}
    naming = _find_naming(path, state, file.author)
    prefix = _find_prefix(path, state, naming.mark, backbone)
    own = {k.removeprefix(prefix): v.float() for k, v in state.items() if k.startswith(prefix)}
    tensors, sources = naming.rename(own)
    return PretrainedResNet(
        path=path,
        tensors=tensors,
        sources={name: prefix + source for name, source in sources.items()},
        unused=[name for name in state if not name.startswith(prefix)],
        convention=convention or naming.convention,
    )


def rename_torchvision(state: Tensors) -> tuple[Tensors, dict[str, str]]:
    """Give the tensors of torchvision's ResNet Detectron2's names.

    IBN and non-local blocks of re-ID projects get those of `build_reid_resnet_backbone`.

    Returns:
        Tensors by their new names, and the old name of each.
    """
    sources = {}
    for old in state:
        new = re.sub(r"^(conv1|bn1)\.", r"stem.\1.", _place_non_local(old, state))
        new = re.sub(r"^layer(\d)\.", lambda stage: f"res{int(stage[1]) + 1}.", new)
        new = re.sub(r"\.bn(\d)\.", r".conv\1.norm.", new)
        new = new.replace(".norm.IN.", ".norm.instance.").replace(".norm.BN.", ".norm.batch.")
        new = new.replace(".downsample.0.", ".shortcut.")
        sources[new.replace(".downsample.1.", ".shortcut.norm.")] = old
    return {new: state[old] for new, old in sources.items()}, sources


def count_children(state: Tensors, prefix: str) -> int:
    """Return the number of modules with the names prefix0, prefix1, ..."""
    return len({name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)})


def _place_non_local(name: str, state: Tensors) -> str:
    """Name the non-local blocks NL_<stage>.<i> after the last blocks of the stage."""
    match = re.match(r"NL_(\d)\.(\d+)\.(.+)", name)
    if match is None:
        return name
    stage, index, rest = match.groups()
    first = count_children(state, f"layer{stage}.") - count_children(state, f"NL_{stage}.")
    rest = rest.replace("W.0.", "out.").replace("W.1.", "out.norm.")
    return f"layer{stage}.{first + int(index)}.non_local.{rest}"


@dataclass(frozen=True)
class _Naming:
    """A family of tensor names.

    Args:
        mark: name in every ResNet of the family.
        rename: state dict to tensors in Detectron2's names and the old name of each.
        convention: usual convention of the family.
    """

    mark: str
    rename: Callable[[Tensors], tuple[Tensors, dict[str, str]]]
    convention: str


def _from_detectron2(state: Tensors) -> tuple[Tensors, dict[str, str]]:
    return state, {name: name for name in state}


def _find_naming(path: str, state: Tensors, author: str) -> _Naming:
    # Detectron2's converter of torchvision's models writes its author into the file
    author_convention = "torchvision" if author == "torchvision" else "msra"
    namings = (
        _Naming("layer1.0.conv1.weight", rename_torchvision, "torchvision"),
        _Naming("res2.0.conv1.weight", _from_detectron2, author_convention),
        _Naming("res2_0_branch2a_w", convert_c2_detectron_names, "msra"),
    )
    for naming in namings:
        if any(name.endswith(naming.mark) for name in state):
            return naming
    raise InputError(
        f"{path}: holds no ResNet: none of its {len(state)} tensors ({', '.join([*state][:3])} "
        f"...) has a name that ends in {', '.join(naming.mark for naming in namings)}"
    )


def _find_prefix(path: str, state: Tensors, mark: str, backbone: str) -> str:
    prefixes = [name.removesuffix(mark) for name in state if name.endswith(mark)]
    if len(prefixes) > 1:
        prefixes = [prefix for prefix in prefixes if prefix.endswith(f"{backbone}.")] or prefixes
    if len(prefixes) > 1:
        raise InputError(
            f"{path}: holds several ResNets, under {', '.join(prefixes)}; save one of them alone"
        )
    return prefixes[0]
