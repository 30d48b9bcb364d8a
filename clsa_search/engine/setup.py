"""From the command line to the frozen config of a run."""

import argparse
import logging
import os
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from yaml import YAMLError

from clsa_search.config import add_clsa_search_config
from clsa_search.data import count_identities, get_records, load_training_records
from clsa_search.engine.output_dir import kept_config
from clsa_search.errors import InputError

logger = logging.getLogger(__name__)


def load_config(config_file: str, opts: list[str] | None = None) -> CfgNode:
    """Defaults, then a YAML file, then KEY VALUE pairs; not frozen.

    Raises:
        InputError: the file is missing or not YAML, a key does not exist, a value does not fit.
    """
    cfg = get_cfg()
    add_clsa_search_config(cfg)
    if config_file and not os.path.isfile(config_file):
        raise InputError(f"config file {config_file} does not exist")
    source = config_file
    try:
        if config_file:
            cfg.merge_from_file(config_file, allow_unsafe=False)  # no tags that run code
        source = "command line"
        cfg.merge_from_list(list(opts or []))
    except (KeyError, ValueError, AssertionError, AttributeError, YAMLError) as error:
        message = (error.args and error.args[0]) or " ".join(str(error).split())  # YAML's are long
        raise InputError(f"{source}: {message}") from error
    return cfg


def fall_back_to_cpu(cfg: CfgNode) -> bool:
    """Put MODEL.DEVICE on the CPU where it is a GPU and there is none; says whether it did."""
    no_gpu = cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available()
    if no_gpu:
        cfg.MODEL.DEVICE = "cpu"
    return no_gpu


def setup(args: argparse.Namespace) -> CfgNode:
    """The frozen config of a command, with logging and seeds set up.

    MODEL.DEVICE falls back to the CPU on a machine without a GPU. MODEL.REID.NUM_IDS 0 becomes the
    number of identities of DATASETS.TRAIN when training.

    Args:
        args: config_file, opts and eval_only of Detectron2's argument parser.

    Raises:
        InputError: see :func:`load_config`; the weights or a dataset do not exist; the training
            set labels nobody, or more people than NUM_IDS.
    """
    cfg = load_config(args.config_file, args.opts)
    weights = cfg.MODEL.WEIGHTS
    if weights and "://" not in weights and not os.path.isfile(weights):
        raise InputError(f"MODEL.WEIGHTS {weights!r} does not exist")
    no_gpu = fall_back_to_cpu(cfg)
    if not args.eval_only:
        # faults of the datasets are found before a run instead of in it
        cfg = with_identities(cfg, load_training_records(cfg.DATASETS.TRAIN))
        for name in cfg.DATASETS.TEST:
            get_records(name)
    cfg.freeze()
    # config.yaml is the trainer's to write, once the run can begin
    with kept_config(cfg.OUTPUT_DIR) if comm.is_main_process() else nullcontext():
        default_setup(cfg, args)
    # beside Detectron2's own; an application's handlers get it too
    setup_logger(cfg.OUTPUT_DIR, comm.get_rank(), name="clsa_search").propagate = True
    if no_gpu:
        logger.warning("No GPU is available: running on the CPU")
    return cfg


def with_identities(cfg: CfgNode, records: Sequence[dict]) -> CfgNode:
    """The config with as many identities as the records of DATASETS.TRAIN where NUM_IDS is 0.

    Raises:
        InputError: the records label nobody, or more people than NUM_IDS.
    """
    identities = count_identities(records)
    if identities == 0:
        raise InputError(
            f"DATASETS.TRAIN {cfg.DATASETS.TRAIN}: no box has a person_id; "
            "the re-ID branch needs labeled people to learn from"
        )
    if 0 < cfg.MODEL.REID.NUM_IDS < identities:
        raise InputError(
            f"MODEL.REID.NUM_IDS is {cfg.MODEL.REID.NUM_IDS}, but DATASETS.TRAIN "
            f"{cfg.DATASETS.TRAIN} holds {identities} identities; 0 takes as many as there are"
        )
    if cfg.MODEL.REID.NUM_IDS == 0:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.REID.NUM_IDS = identities
        cfg.freeze()
    return cfg
