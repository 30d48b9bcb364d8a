"""From the command line to the frozen config of a run."""

import argparse
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import default_setup
from detectron2.modeling import META_ARCH_REGISTRY, ROI_HEADS_REGISTRY
from detectron2.modeling.roi_heads import Res5ROIHeads
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from clsa_search.argument_checks import check_path, check_type
from clsa_search.config import add_clsa_search_config
from clsa_search.config_checks import check_config
from clsa_search.config_files import check_weights, find_config, read_config
from clsa_search.config_values import list_values, set_nested, set_pairs
from clsa_search.data import (
    count_identities,
    get_records,
    load_training_records,
    register_custom_json,
)
from clsa_search.data.build import check_training_memory
from clsa_search.data.image_checks import check_images_exist
from clsa_search.engine.output_dir import kept_config
from clsa_search.engine.schedule import with_schedule
from clsa_search.errors import InputError
from clsa_search.evaluation.record_queries import check_queries
from clsa_search.modeling.person_search_rcnn import PersonSearchRCNN
from clsa_search.modeling.registries import find_class
from clsa_search.modeling.reid_branch import REID_BRANCH_REGISTRY

logger = logging.getLogger(__name__)


def load_config(config_file: str | os.PathLike = "", opts: Sequence = ()) -> CfgNode:
    """Load a config that is not frozen: defaults, then a YAML file, then KEY VALUE pairs.

    Args:
        config_file: path or name, see :func:`find_config`; "" for the defaults.
        opts: keys and values in turn, such as ("SOLVER.BASE_LR", 0.01).

    Raises:
        InputError: an argument is of another type, the file or a base of it is missing or is not
            YAML, a key does not exist, or a value does not fit its key, see :func:`.check_config`.
    """
    path = "" if config_file is None else check_path("config_file", config_file)
    check_type("opts", opts, (list, tuple), "a list of keys and values in turn")
    cfg = get_cfg()
    add_clsa_search_config(cfg)
    sources: dict[str, str] = {}
    for file, content in read_config(path) if path else ():
        _merge(cfg, file, partial(set_nested, content=content), sources)
    _merge(cfg, "command line", partial(set_pairs, opts=list(opts)), sources)
    check_config(cfg, sources)
    return cfg


def _merge(
    cfg: CfgNode, source: str, change: Callable[[CfgNode], None], sources: dict[str, str]
) -> None:
    """Apply a change to a config, and note its source for all keys that it changes."""
    before = dict(list_values(cfg))
    try:
        change(cfg)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    sources |= {key: source for key, value in list_values(cfg) if value != before[key]}


def fall_back_to_cpu(cfg: CfgNode) -> bool:
    """Set MODEL.DEVICE to the CPU if it names a GPU and none is available.

    Returns:
        Whether the device was changed.
    """
    no_gpu = cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available()
    if no_gpu:
        cfg.MODEL.DEVICE = "cpu"
    return no_gpu


def setup(args: argparse.Namespace) -> CfgNode:
    """Set up logging and seeds, as Detectron2's `default_setup`, and return the frozen config.

    MODEL.DEVICE falls back to the CPU on a machine without a GPU. Before training, a
    MODEL.REID.NUM_IDS of 0 becomes the number of identities of DATASETS.TRAIN, and SOLVER.EPOCHS
    sets the number of iterations.

    Args:
        args: config_file, opts and eval_only of the command line.

    Raises:
        InputError: see :func:`load_config` and :func:`with_identities`; the weights or a dataset
            do not exist; there is too little shared memory.
    """
    cfg = load_config(args.config_file, args.opts or ())
    check_weights(cfg.MODEL.WEIGHTS)
    no_gpu = fall_back_to_cpu(cfg)
    register_json_files(cfg)
    if not args.eval_only:
        check_trainable(cfg)
        # faults of the datasets show before a run, not in it
        records = load_training_records(cfg.DATASETS.TRAIN)
        cfg = with_schedule(with_identities(cfg, records), records)
        tests = {name: get_records(name) for name in cfg.DATASETS.TEST}
        for name, test_records in tests.items():
            check_queries(name, test_records)
        check_images_exist([*records, *(record for test in tests.values() for record in test)])
        check_training_memory(cfg, records, [*tests.values()])
    cfg.freeze()
    args = argparse.Namespace(**vars(args))  # default_setup opens the file by its path
    args.config_file = find_config(args.config_file) if args.config_file else ""
    # the trainer writes config.yaml once the run can begin
    with kept_config(cfg.OUTPUT_DIR) if comm.is_main_process() else nullcontext():
        default_setup(cfg, args)
    # same outputs as Detectron2's logger; handlers of an application get the messages too
    setup_logger(cfg.OUTPUT_DIR, comm.get_rank(), name="clsa_search").propagate = True
    if no_gpu:
        logger.warning("No GPU is available: running on the CPU")
    return cfg


@contextmanager
def reported_building() -> Iterator[None]:
    """Raise InputError for an error while a config is built; Detectron2 checks few values."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"the config cannot be built: {type(error).__name__}: {error}; expected values that "
            "fit each other and the machine"
        ) from error


def check_trainable(cfg: CfgNode) -> None:
    """Check that the model, its re-ID branch and its ROI heads can be trained.

    Raises:
        InputError: one of them searches only.
    """
    name = cfg.MODEL.META_ARCHITECTURE
    model = find_class(META_ARCH_REGISTRY, name, "MODEL.META_ARCHITECTURE")
    if not getattr(model, "is_trainable", True):
        raise InputError(
            f"MODEL.META_ARCHITECTURE is {name}, which searches with public weights and cannot be "
            "trained here; expected PersonSearchRCNN"
        )
    name = cfg.MODEL.REID.NAME
    if not getattr(find_class(REID_BRANCH_REGISTRY, name, "MODEL.REID.NAME"), "is_trainable", True):
        raise InputError(f"MODEL.REID.NAME is {name}, which cannot be trained; expected CropBranch")
    heads = cfg.MODEL.ROI_HEADS.NAME
    builder = find_class(ROI_HEADS_REGISTRY, heads, "MODEL.ROI_HEADS.NAME")
    if (
        model is PersonSearchRCNN
        and isinstance(builder, type)
        and issubclass(builder, Res5ROIHeads)
    ):
        raise InputError(
            f"MODEL.ROI_HEADS.NAME is {heads}, which returns no boxes to train the re-ID branch "
            "with; expected StandardROIHeads, CascadeROIHeads or PersonROIHeads"
        )


def register_json_files(cfg: CfgNode) -> None:
    """Register the JSON files of DATASETS, to be read with its keys IMAGE_ROOT, ID_FIELD, CATEGORY.

    With the keys' defaults nothing is registered, so that files keep the way chosen before.
    """
    datasets = cfg.DATASETS
    options = {"id_field": datasets.ID_FIELD, "category": datasets.CATEGORY or None}
    if (datasets.IMAGE_ROOT, *options.values()) == ("", "person_id", None):
        return
    for name in dict.fromkeys((*datasets.TRAIN, *datasets.TEST)):
        if name.endswith(".json"):
            register_custom_json(name, name, datasets.IMAGE_ROOT or None, **options)


def with_identities(cfg: CfgNode, records: Sequence[dict]) -> CfgNode:
    """Return the config with a MODEL.REID.NUM_IDS of 0 replaced by the number of identities.

    Args:
        cfg: config of a training.
        records: records of DATASETS.TRAIN.

    Raises:
        InputError: there is no training set, no box has a person id, or there are more identities
            than NUM_IDS.
    """
    if not cfg.DATASETS.TRAIN:
        raise InputError("DATASETS.TRAIN is empty; expected the names of training sets")
    identities = count_identities(records)
    if identities == 0:
        raise InputError(
            f"DATASETS.TRAIN {cfg.DATASETS.TRAIN}: no box has a person_id; "
            "the re-ID branch needs labeled boxes to train"
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
