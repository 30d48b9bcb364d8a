"""Allowed values of the config keys, in one table for training, evaluation, search and export."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import (
    ANCHOR_GENERATOR_REGISTRY,
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_BOX_HEAD_REGISTRY,
    ROI_HEADS_REGISTRY,
    RPN_HEAD_REGISTRY,
)
from detectron2.utils.registry import Registry

from clsa_search.argument_checks import check_type
from clsa_search.config import add_clsa_search_config
from clsa_search.config_values import list_values
from clsa_search.errors import InputError
from clsa_search.modeling.heads import REID_HEAD_REGISTRY
from clsa_search.modeling.id_classifier import ID_CLASSIFIER_REGISTRY
from clsa_search.modeling.reid_branch import REID_BRANCH_REGISTRY
from clsa_search.modeling.reid_resnet import STEM_POOLS
from clsa_search.wording import count_noun, show_value


class Check(NamedTuple):
    """Condition of a value, and the function that describes it for the message."""

    accepts: Callable[[Any], bool]
    describe: Callable[[], str]


def check_config(cfg: CfgNode, sources: Mapping[str, str] | None = None) -> None:
    """Check every value that differs from its default, before anything is built.

    A key without an entry in the table takes finite numbers from 0 on.

    Args:
        cfg: config to check.
        sources: names of the sources of values by key, for the message.

    Raises:
        InputError: a value is not allowed; the message names source, key, value and the choices.
    """
    check_type("cfg", cfg, CfgNode, "a config, as load_config returns")
    defaults = get_cfg()
    add_clsa_search_config(defaults)
    values = dict(list_values(cfg))
    for key, default in list_values(defaults):
        if key not in values or values[key] == default:
            continue
        check = CHECKS.get(key.replace("MODEL.REID.BACKBONE.RESNETS", "MODEL.RESNETS"), _PLAIN)
        if not _accepts(check, values[key]):
            source = (sources or {}).get(key)
            raise InputError(
                f"{f'{source}: ' if source else ''}{key} is {show_value(values[key])}; "
                f"expected {check.describe()}"
            )

    size, processes = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.REFERENCE_WORLD_SIZE
    if processes and size % processes:
        raise InputError(
            f"SOLVER.IMS_PER_BATCH is {size}; expected a multiple of "
            f"SOLVER.REFERENCE_WORLD_SIZE, {processes}"
        )


def _accepts(check: Check, value: object) -> bool:
    try:
        return check.accepts(value)
    except Exception:  # values of other types
        return False


def _at_least(low: float) -> Check:
    return Check(lambda x: low <= x < math.inf, lambda: f"a number of {low} or more")


def _above(low: float) -> Check:
    return Check(lambda x: low < x < math.inf, lambda: f"a number above {low}")


def _one_of(*choices: object) -> Check:
    words = ", ".join(map(repr, choices))
    return Check(lambda x: x in choices, lambda: f"one of {words}" if len(choices) > 1 else words)


def _each(check: Check, *counts: int) -> Check:
    """Return the check of a list with one of these lengths; without lengths, of any length."""
    number = f"{' or '.join(map(str, counts))} of: " if counts else "each "
    return Check(
        lambda x: (not counts or len(x) in counts) and all(map(check.accepts, x)),
        lambda: f"a list, {number}{check.describe()}",
    )


def _some(check: Check) -> Check:
    """Return the check of a list that is not empty."""
    return Check(
        lambda x: len(x) > 0 and check.accepts(x), lambda: f"at least one; {check.describe()}"
    )


def _registered(registry: Registry, *detectron2: str) -> Check:
    """Return the check of a registered name.

    Args:
        registry: registry of the classes or functions.
        detectron2: those of Detectron2's own that fit person search; all by default.
    """

    def choices() -> list[str]:
        return sorted(
            name
            for name, entry in registry
            if not detectron2
            or name in detectron2
            or not entry.__module__.startswith("detectron2.")
        )

    return Check(lambda x: x in choices(), lambda: f"one of {', '.join(map(repr, choices()))}")


def _is_plain(value: Any, depth: int = 3) -> bool:
    if isinstance(value, list | tuple):  # aliases of a YAML file may nest without an end
        return depth > 0 and all(_is_plain(item, depth - 1) for item in value)
    return not isinstance(value, int | float) or 0 <= value < math.inf


def _is_device(name: str) -> bool:
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count()  # without a GPU the CPU takes its place
        return count == 0 or (device.index or 0) < count
    return device.type == "cpu"


def _describe_devices() -> str:
    count = torch.cuda.device_count()
    last = f", cuda:0 to cuda:{count - 1}" if count > 1 else ""
    return f"cpu or cuda{last}; this machine has {count_noun(count, 'GPU')}"


_PLAIN = Check(_is_plain, lambda: "finite numbers of 0 or more")
_ANY = Check(lambda x: True, lambda: "any value")
_COUNT = Check(lambda x: isinstance(x, int) and x >= 1, lambda: "a whole number of 1 or more")
_POSITIVE = _above(0)
_SHARE = Check(lambda x: 0 <= x <= 1, lambda: "a number from 0 to 1")
_MOMENTUM = Check(lambda x: 0 <= x < 1, lambda: "a number from 0 to less than 1")
_TEXT = Check(lambda x: isinstance(x, str) and x != "", lambda: "a text that is not empty")
_NAMES = _each(_TEXT)
_SIZE = _each(_COUNT, 2)
_NORM = _one_of("", "BN", "SyncBN", "FrozenBN", "GN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N")
_STAGES = Check(lambda x: x in range(6), lambda: "a number of stages from 0 to 5")
_OFF = _one_of(False)  # parts of Detectron2 that person search does not use
_BOX_LOSS = _one_of("smooth_l1", "giou", "diou", "ciou")
_LABELS = _each(_one_of(-1, 0, 1))

CHECKS = {
    "VERSION": _one_of(2),
    "OUTPUT_DIR": _TEXT,
    "SEED": Check(lambda x: -1 <= x < 2**32, lambda: "a number from 0 to 4294967295, or -1"),
    "MODEL.DEVICE": Check(_is_device, _describe_devices),
    "MODEL.META_ARCHITECTURE": _registered(META_ARCH_REGISTRY, "PersonSearchRCNN"),
    "MODEL.LOAD_PROPOSALS": _OFF,
    "MODEL.MASK_ON": _OFF,
    "MODEL.KEYPOINT_ON": _OFF,
    "MODEL.PIXEL_MEAN": _each(_at_least(0), 3),
    "MODEL.PIXEL_STD": _each(_POSITIVE, 3),
    "MODEL.BACKBONE.NAME": _registered(BACKBONE_REGISTRY),
    "MODEL.BACKBONE.FREEZE_AT": _STAGES,
    "MODEL.FPN.IN_FEATURES": _NAMES,
    "MODEL.FPN.OUT_CHANNELS": _COUNT,
    "MODEL.FPN.NORM": _NORM,
    "MODEL.FPN.FUSE_TYPE": _one_of("sum", "avg"),
    "MODEL.RESNETS.DEPTH": _one_of(18, 34, 50, 101, 152),
    "MODEL.RESNETS.OUT_FEATURES": _some(_NAMES),
    "MODEL.RESNETS.NUM_GROUPS": _COUNT,
    "MODEL.RESNETS.NORM": _NORM,
    "MODEL.RESNETS.WIDTH_PER_GROUP": _COUNT,
    "MODEL.RESNETS.RES5_DILATION": _one_of(1, 2),
    "MODEL.RESNETS.RES2_OUT_CHANNELS": _COUNT,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": _COUNT,
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE": _each(_one_of(False, True), 4),
    "MODEL.RESNETS.DEFORM_NUM_GROUPS": _COUNT,
    "MODEL.PROPOSAL_GENERATOR.NAME": _registered(PROPOSAL_GENERATOR_REGISTRY, "RPN"),
    "MODEL.ANCHOR_GENERATOR.NAME": _registered(ANCHOR_GENERATOR_REGISTRY, "DefaultAnchorGenerator"),
    "MODEL.ANCHOR_GENERATOR.SIZES": _some(_each(_some(_each(_POSITIVE)))),
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": _some(_each(_some(_each(_POSITIVE)))),
    "MODEL.ANCHOR_GENERATOR.ANGLES": _ANY,
    "MODEL.ANCHOR_GENERATOR.OFFSET": _MOMENTUM,
    "MODEL.RPN.HEAD_NAME": _registered(RPN_HEAD_REGISTRY),
    "MODEL.RPN.IN_FEATURES": _some(_NAMES),
    "MODEL.RPN.BOUNDARY_THRESH": _at_least(-1),
    "MODEL.RPN.IOU_THRESHOLDS": _each(_SHARE, 2),
    "MODEL.RPN.IOU_LABELS": _LABELS,
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": _COUNT,
    "MODEL.RPN.POSITIVE_FRACTION": _SHARE,
    "MODEL.RPN.BBOX_REG_LOSS_TYPE": _BOX_LOSS,
    "MODEL.RPN.BBOX_REG_WEIGHTS": _each(_POSITIVE, 4),
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": _COUNT,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": _COUNT,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": _COUNT,
    "MODEL.RPN.POST_NMS_TOPK_TEST": _COUNT,
    "MODEL.RPN.NMS_THRESH": _SHARE,
    "MODEL.RPN.CONV_DIMS": _each(Check(lambda x: x == -1 or x > 0, lambda: "1 or more, or -1")),
    "MODEL.ROI_HEADS.NAME": _registered(
        ROI_HEADS_REGISTRY, "StandardROIHeads", "Res5ROIHeads", "CascadeROIHeads"
    ),
    "MODEL.ROI_HEADS.NUM_CLASSES": _one_of(1),
    "MODEL.ROI_HEADS.PRETRAINED_CLASSES": _COUNT,
    "MODEL.ROI_HEADS.IN_FEATURES": _some(_NAMES),
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": _each(_SHARE, 1),
    "MODEL.ROI_HEADS.IOU_LABELS": _LABELS,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": _COUNT,
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": _SHARE,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": _SHARE,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": _SHARE,
    "MODEL.ROI_BOX_HEAD.NAME": _registered(ROI_BOX_HEAD_REGISTRY),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": _BOX_LOSS,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": _each(_POSITIVE, 4),
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": _COUNT,
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": _one_of("ROIPool", "ROIAlign", "ROIAlignV2"),
    "MODEL.ROI_BOX_HEAD.FC_DIM": _COUNT,
    "MODEL.ROI_BOX_HEAD.CONV_DIM": _COUNT,
    "MODEL.ROI_BOX_HEAD.NORM": _NORM,
    "MODEL.REID.NAME": _registered(REID_BRANCH_REGISTRY),
    "MODEL.REID.LEVELS": _some(_NAMES),
    "MODEL.REID.NMS_THRESH_TEST": _SHARE,
    "MODEL.REID.POOL_SIZE": _SIZE,
    "MODEL.REID.CROP_SIZE": _SIZE,
    "MODEL.REID.BACKBONE.NAME": _registered(BACKBONE_REGISTRY),
    "MODEL.REID.BACKBONE.FREEZE_AT": _STAGES,
    "MODEL.REID.BACKBONE.LAST_STRIDE": _one_of(1, 2),
    "MODEL.REID.BACKBONE.STEM.POOL": _one_of(*STEM_POOLS),
    "MODEL.REID.BACKBONE.STEM.RELU": _one_of(False, True),
    "MODEL.REID.BACKBONE.IBN": _one_of(False, True),
    "MODEL.REID.BACKBONE.NON_LOCAL": _each(Check(lambda x: x in range(37), lambda: "0 to 36"), 4),
    "MODEL.REID.INPUT.FORMAT": _one_of("", "RGB", "BGR"),
    "MODEL.REID.INPUT.PIXEL_MEAN": _each(_at_least(0), 0, 3),
    "MODEL.REID.INPUT.PIXEL_STD": _each(_POSITIVE, 0, 3),
    "MODEL.REID.HEAD.NAME": _registered(REID_HEAD_REGISTRY),
    "MODEL.REID.HEAD.POOL": _one_of("avg", "gem"),
    "MODEL.REID.HEAD.GEM_P": _POSITIVE,
    "MODEL.REID.HEAD.NECK": _one_of("none", "bn", "fc_bn", "fc_bn_relu"),
    "MODEL.REID.HEAD.HIDDEN_DIM": _COUNT,
    "MODEL.REID.HEAD.EMBED_DIM": _COUNT,
    "MODEL.REID.HEAD.NORM": _NORM,
    "MODEL.REID.CLASSIFIER": _registered(ID_CLASSIFIER_REGISTRY),
    "MODEL.REID.OIM.MOMENTUM": _MOMENTUM,
    "MODEL.REID.OIM.TEMPERATURE": _POSITIVE,
    "MODEL.REID.ID_LEVELS": _NAMES,
    "MODEL.REID.ALIGN.TEMPERATURE": _POSITIVE,
    "MODEL.REID.ALIGN.TARGETS": _NAMES,
    "MODEL.REID.ALIGN.RAMP": _SHARE,
    "INPUT.MIN_SIZE_TRAIN": _some(_each(_COUNT)),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": _one_of("choice", "range"),
    "INPUT.MAX_SIZE_TRAIN": _COUNT,
    "INPUT.MIN_SIZE_TEST": Check(lambda x: x >= 0, lambda: "pixels, or 0 for images as they are"),
    "INPUT.MAX_SIZE_TEST": _COUNT,
    "INPUT.RANDOM_FLIP": _one_of("none", "horizontal", "vertical"),
    "INPUT.CROP.TYPE": _one_of("relative", "relative_range", "absolute", "absolute_range"),
    "INPUT.CROP.SIZE": _each(_POSITIVE, 2),
    "INPUT.FORMAT": _one_of("RGB", "BGR"),
    "DATASETS.TRAIN": _NAMES,
    "DATASETS.TEST": _NAMES,
    "DATALOADER.SAMPLER_TRAIN": _one_of("TrainingSampler", "IdentitySampler"),
    "DATALOADER.IMS_PER_IDENTITY": _COUNT,
    "SOLVER.LR_SCHEDULER_NAME": _one_of("WarmupMultiStepLR", "WarmupCosineLR"),
    "SOLVER.MAX_ITER": _COUNT,
    "SOLVER.BASE_LR": _POSITIVE,
    "SOLVER.MOMENTUM": _MOMENTUM,
    "SOLVER.WEIGHT_DECAY_BIAS": Check(
        lambda x: x is None or 0 <= x < math.inf, lambda: "a number of 0 or more, or None"
    ),
    "SOLVER.GAMMA": _POSITIVE,
    "SOLVER.STEPS": Check(
        lambda x: all(isinstance(n, int) and n >= 0 for n in x) and sorted(set(x)) == list(x),
        lambda: "a list of rising iterations",
    ),
    "SOLVER.WARMUP_METHOD": _one_of("linear", "constant"),
    "SOLVER.CHECKPOINT_PERIOD": _COUNT,
    "SOLVER.IMS_PER_BATCH": _COUNT,
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": _one_of("value", "norm"),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": _POSITIVE,
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": Check(lambda x: x > 0, lambda: "a number above 0, or inf"),
    "SOLVER.ACCUMULATION_STEPS": _COUNT,
    "TEST.EXPECTED_RESULTS": _ANY,
    "TEST.DETECTIONS_PER_IMAGE": Check(
        lambda x: x == -1 or x >= 1, lambda: "1 or more, or -1 for all"
    ),
    "TEST.IMS_PER_BATCH": _COUNT,
}
"""Checks by key; the keys of MODEL.REID.BACKBONE.RESNETS are those of MODEL.RESNETS."""
