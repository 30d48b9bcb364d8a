"""Shared detector weights of several runs; each run trains its re-ID from random weights."""

from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from clsa_search.atomic_io import replace_file
from clsa_search.checkpoint.search_model import VALUES
from clsa_search.errors import InputError

DETECTOR_FILE = "detector.pth"
# Prefixes of the detector's parameters; all others belong to the re-ID.
_DETECTOR = ("backbone.", "proposal_generator.", "roi_heads.")

State = dict[str, torch.Tensor]


def write_detector_weights(cfg: CfgNode, source: str | Path, target: Path) -> None:
    """Write the detector weights of a checkpoint to a file.

    An existing file with the same detector stays as it is: runs may have started from it.

    Args:
        cfg: config of a model with this detector.
        source: checkpoint of this project.
        target: file to write.

    Raises:
        InputError: if the source is no checkpoint, its detector does not fit the config, or the
            target holds another detector.
    """
    state = _read_detector(source)
    _check_shapes(state, cfg, source)
    if target.exists():
        old = _read_detector(target)
        if old.keys() != state.keys() or any(not state[key].equal(old[key]) for key in old):
            raise InputError(
                f"{target}: holds another detector than {source}; expected the detector of the "
                "runs in this folder, or another --output-dir"
            )
        return
    with replace_file(target) as file:
        # no values to compare: a config that fits this detector is checked above
        torch.save({"model": state, VALUES: {}}, file)


def _read_detector(path: str | Path) -> State:
    try:
        return _select(torch.load(path, map_location="cpu", weights_only=True)["model"])
    except Exception as error:  # errors of a broken pickle or archive have no common base
        raise InputError(f"{path}: not a checkpoint that can be read: {error}") from error


def _check_shapes(state: State, cfg: CfgNode, source: str | Path) -> None:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    expected = _select(build_model(cfg).state_dict())
    for key in sorted(expected.keys() | state.keys()):
        shape, expected_shape = (
            tuple(weights[key].shape) if key in weights else "missing"
            for weights in (state, expected)
        )
        if shape != expected_shape:
            raise InputError(
                f"{source}: does not fit the config's detector: {key} is {shape}; expected "
                f"{expected_shape}"
            )


def _select(state: State) -> State:
    return {key: value for key, value in state.items() if key.startswith(_DETECTOR)}
