"""A trained model to work with, from its checkpoint and the config that training left beside it."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from clsa_search.checkpoint.checkpointer import PersonSearchCheckpointer
from clsa_search.engine.output_dir import CONFIG_FILE
from clsa_search.engine.setup import fall_back_to_cpu, load_config
from clsa_search.errors import InputError


@dataclass(frozen=True)
class TrainedModel:
    """A person-search model in evaluation mode, without identity classifiers."""

    model: nn.Module
    cfg: CfgNode  # frozen
    weights_sha256: str


def load_trained_model(
    weights: str | os.PathLike, config_file: str | os.PathLike | None = None, opts: Sequence = ()
) -> TrainedModel:
    """Build the model of a checkpoint and fill it.

    Args:
        weights: the checkpoint.
        config_file: by default `config.yaml` in the folder of the weights, where training puts it.
        opts: KEY VALUE pairs. MODEL.DEVICE falls back to the CPU where there is no GPU.

    Raises:
        InputError: a file is missing or unreadable, or the checkpoint is of another model.
    """
    path = os.fspath(weights)
    if not os.path.isfile(path):
        raise InputError(f"weights {path!r} do not exist; expected a checkpoint's file")
    beside = os.path.join(os.path.dirname(path), CONFIG_FILE)
    if config_file is None and not os.path.isfile(beside):
        raise InputError(
            f"{beside} does not exist; expected the config that training left beside the weights, "
            "or to be told which it is"
        )
    cfg = load_config(os.fspath(config_file or beside), list(opts))
    cfg.MODEL.WEIGHTS = path
    cfg.MODEL.REID.NUM_IDS = 0  # classifiers are for training only
    fall_back_to_cpu(cfg)
    cfg.freeze()
    model = build_model(cfg).eval()
    PersonSearchCheckpointer(model).load_strictly(path, checkpointables=[])
    return TrainedModel(model, cfg, hash_file(path))


def hash_file(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
