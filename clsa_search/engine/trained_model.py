"""A trained model, loaded from its checkpoint and the config beside it."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from clsa_search.checkpoint.checkpointer import PersonSearchCheckpointer
from clsa_search.engine.output_dir import CONFIG_FILE
from clsa_search.engine.setup import fall_back_to_cpu, load_config, reported_building
from clsa_search.errors import InputError
from clsa_search.modeling import PersonSearchRCNN


@dataclass(frozen=True)
class TrainedModel:
    """A person-search model in evaluation mode, without identity classifiers.

    Args:
        model: the model on MODEL.DEVICE.
        cfg: frozen config of the model.
        weights_sha256: hash of the checkpoint, see :func:`hash_file`.
    """

    model: PersonSearchRCNN
    cfg: CfgNode
    weights_sha256: str


def load_trained_model(
    weights: str | os.PathLike, config_file: str | os.PathLike | None = None, opts: Sequence = ()
) -> TrainedModel:
    """Build the model of a checkpoint and load its weights.

    Neither torch's settings nor its random generators change.

    Args:
        weights: path of the checkpoint.
        config_file: path or name, see :func:`.find_config`; by default the one beside the weights:
            of the same name with the suffix .yaml, else the `config.yaml` of a training.
        opts: KEY VALUE pairs. MODEL.DEVICE falls back to the CPU without a GPU.

    Raises:
        InputError: a file is missing or unreadable, or the checkpoint belongs to another model.
    """
    path = os.fspath(weights)
    if not os.path.isfile(path):
        raise InputError(f"weights {path!r} do not exist; expected a checkpoint")
    cfg = load_config(config_file or _find_config_beside(path), opts)
    cfg.MODEL.WEIGHTS = path
    cfg.MODEL.REID.NUM_IDS = 0  # classifiers are for training only
    fall_back_to_cpu(cfg)
    cfg.freeze()
    # the initialization is random, on the CPU
    with reported_building(), torch.random.fork_rng(devices=[]):
        model = build_model(cfg).eval()
    checkpointer = PersonSearchCheckpointer(model)
    checkpointer.cfg = cfg
    checkpointer.load_strictly(path, checkpointables=[])
    return TrainedModel(model, cfg, hash_file(path))


def _find_config_beside(weights: str) -> str:
    own = f"{os.path.splitext(weights)[0]}.yaml"
    of_training = os.path.join(os.path.dirname(weights), CONFIG_FILE)
    for path in (own, of_training):
        if os.path.isfile(path):
            return path
    raise InputError(
        f"{of_training} does not exist; expected the config of the training beside the weights, "
        f"{own}, or --config-file"
    )


def hash_file(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
