"""Give the tensors of the ResNets of other projects Detectron2's names."""

import re

from clsa_search.checkpoint.public_weights import Tensors


def rename_torchvision(state: Tensors) -> tuple[Tensors, dict[str, str]]:
    """Give the tensors of torchvision's ResNet Detectron2's names.

    IBN and non-local blocks of re-ID projects get those of `build_reid_resnet_backbone`, the three
    convolutions in the stem of CLIP those of `build_clip_resnet_backbone`.

    Returns:
        Tensors by their new names, and the old name of each.
    """
    sources = {}
    for old in state:
        new = re.sub(r"^(conv\d|bn\d)\.", r"stem.\1.", _place_non_local(old, state))
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
