"""A checkpoint's detector alone: what runs share that train their re-ID from random weights."""

from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from clsa_search.atomic_io import replace_file
from clsa_search.errors import InputError

DETECTOR_FILE = "detector.pth"
# what the detector's parameters begin with; re-ID branch, heads and classifiers are all others
_DETECTOR = ("backbone.", "proposal_generator.", "roi_heads.")

State = dict[str, torch.Tensor]


def write_detector_weights(cfg: CfgNode, source: str | Path, target: Path) -> None:
    """Write a checkpoint's detector alone, from which a re-ID branch trains from random weights.

    A target that holds the same detector is left as it is: runs may have started from it.

    Args:
        cfg: of a model with that detector.
        source: a checkpoint of ours.
        target: the file to write.

    Raises:
        InputError: the source is no checkpoint, its detector is not the config's, or the target
            holds another one.
    """
    found = _read_detector(source)
    _check_shapes(found, cfg, source)
    if target.exists():
        old = _read_detector(target)
        if old.keys() != found.keys() or any(not found[key].equal(old[key]) for key in old):
            raise InputError(
                f"{target}: holds another detector than {source}; expected the one that the runs "
                "beside it started from, or another output folder"
            )
        return
    with replace_file(target) as file:
        torch.save({"model": found}, file)


def _read_detector(path: str | Path) -> State:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["model"]
        return _select(state)
    except Exception as error:  # what a broken pickle or archive raises has no other base
        raise InputError(f"{path}: not a checkpoint that can be read: {error}") from error


def _check_shapes(found: State, cfg: CfgNode, source: str | Path) -> None:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    wanted = _select(build_model(cfg).state_dict())
    for key in sorted(wanted.keys() | found.keys()):
        is_shape, be_shape = (
            tuple(state[key].shape) if key in state else "missing" for state in (found, wanted)
        )
        if is_shape != be_shape:
            raise InputError(
                f"{source}: is of another detector than the config describes: {key} is {is_shape}, "
                f"the config's {be_shape}"
            )


def _select(state: State) -> State:
    return {key: value for key, value in state.items() if key.startswith(_DETECTOR)}
