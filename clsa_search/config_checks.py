"""Allowed values of the config keys, in one table for training, evaluation, search and export."""

import math
from collections.abc import Mapping

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

from clsa_search.argument_checks import check_type
from clsa_search.config import add_clsa_search_config
from clsa_search.config_conditions import (
    ANY,
    BOX_LOSS,
    COUNT,
    DEVICE,
    LABELS,
    MOMENTUM,
    NAMES,
    NORM,
    OFF,
    PLAIN,
    POSITIVE,
    SHARE,
    SIZE,
    STAGES,
    TEXT,
    Check,
    at_least,
    each,
    one_of,
    registered,
    some,
)
from clsa_search.config_values import list_values
from clsa_search.errors import InputError
from clsa_search.modeling.heads import REID_HEAD_REGISTRY
from clsa_search.modeling.id_classifier import ID_CLASSIFIER_REGISTRY
from clsa_search.modeling.reid_branch import REID_BRANCH_REGISTRY
from clsa_search.modeling.reid_resnet import STEM_POOLS
from clsa_search.modeling.staged_backbone import CONVNEXTS, SWINS
from clsa_search.modeling.staged_backbone import STAGES as STAGE_NAMES
from clsa_search.wording import show_value

CHECKS = {
    "VERSION": one_of(2),
    "OUTPUT_DIR": TEXT,
    "SEED": Check(lambda x: -1 <= x < 2**32, lambda: "a number from 0 to 4294967295, or -1"),
    "MODEL.DEVICE": DEVICE,
    "MODEL.META_ARCHITECTURE": registered(META_ARCH_REGISTRY, "PersonSearchRCNN"),
    "MODEL.LOAD_PROPOSALS": OFF,
    "MODEL.MASK_ON": OFF,
    "MODEL.KEYPOINT_ON": OFF,
    "MODEL.PIXEL_MEAN": each(at_least(0), 3),
    "MODEL.PIXEL_STD": each(POSITIVE, 3),
    "MODEL.BACKBONE.NAME": registered(BACKBONE_REGISTRY),
    "MODEL.BACKBONE.FREEZE_AT": STAGES,
    "MODEL.FPN.IN_FEATURES": NAMES,
    "MODEL.FPN.OUT_CHANNELS": COUNT,
    "MODEL.FPN.NORM": NORM,
    "MODEL.FPN.FUSE_TYPE": one_of("sum", "avg"),
    "MODEL.RESNETS.DEPTH": one_of(18, 34, 50, 101, 152),
    "MODEL.RESNETS.OUT_FEATURES": some(NAMES),
    "MODEL.RESNETS.NUM_GROUPS": COUNT,
    "MODEL.RESNETS.NORM": NORM,
    "MODEL.RESNETS.WIDTH_PER_GROUP": COUNT,
    "MODEL.RESNETS.RES5_DILATION": one_of(1, 2),
    "MODEL.RESNETS.RES2_OUT_CHANNELS": COUNT,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": COUNT,
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE": each(one_of(False, True), 4),
    "MODEL.RESNETS.DEFORM_NUM_GROUPS": COUNT,
    "MODEL.CONVNEXT.SIZE": one_of(*CONVNEXTS),
    "MODEL.CONVNEXT.DROP_PATH": MOMENTUM,
    "MODEL.CONVNEXT.DEPTHS": each(COUNT, 0, 4),
    "MODEL.CONVNEXT.WIDTH": COUNT,
    "MODEL.CONVNEXT.OUT_FEATURES": some(each(one_of(*STAGE_NAMES))),
    "MODEL.TIMM.NAME": TEXT,
    "MODEL.TIMM.DROP_PATH": MOMENTUM,
    "MODEL.TIMM.OUT_FEATURES": some(each(one_of(*STAGE_NAMES))),
    "MODEL.SWIN.SIZE": one_of(*SWINS),
    "MODEL.SWIN.VERSION": one_of(1, 2),
    "MODEL.SWIN.DROP_PATH": MOMENTUM,
    "MODEL.SWIN.DEPTHS": each(COUNT, 0, 4),
    "MODEL.SWIN.WIDTH": Check(
        lambda x: x in range(32, 4096, 32), lambda: "a multiple of 32, or 0 for that of SIZE"
    ),
    "MODEL.SWIN.OUT_FEATURES": some(each(one_of(*STAGE_NAMES))),
    "MODEL.PROPOSAL_GENERATOR.NAME": registered(PROPOSAL_GENERATOR_REGISTRY, "RPN"),
    "MODEL.ANCHOR_GENERATOR.NAME": registered(ANCHOR_GENERATOR_REGISTRY, "DefaultAnchorGenerator"),
    "MODEL.ANCHOR_GENERATOR.SIZES": some(each(some(each(POSITIVE)))),
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": some(each(some(each(POSITIVE)))),
    "MODEL.ANCHOR_GENERATOR.ANGLES": ANY,
    "MODEL.ANCHOR_GENERATOR.OFFSET": MOMENTUM,
    "MODEL.RPN.HEAD_NAME": registered(RPN_HEAD_REGISTRY),
    "MODEL.RPN.IN_FEATURES": some(NAMES),
    "MODEL.RPN.BOUNDARY_THRESH": at_least(-1),
    "MODEL.RPN.IOU_THRESHOLDS": each(SHARE, 2),
    "MODEL.RPN.IOU_LABELS": LABELS,
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": COUNT,
    "MODEL.RPN.POSITIVE_FRACTION": SHARE,
    "MODEL.RPN.BBOX_REG_LOSS_TYPE": BOX_LOSS,
    "MODEL.RPN.BBOX_REG_WEIGHTS": each(POSITIVE, 4),
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": COUNT,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": COUNT,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": COUNT,
    "MODEL.RPN.POST_NMS_TOPK_TEST": COUNT,
    "MODEL.RPN.NMS_THRESH": SHARE,
    "MODEL.RPN.CONV_DIMS": each(Check(lambda x: x == -1 or x > 0, lambda: "1 or more, or -1")),
    "MODEL.ROI_HEADS.NAME": registered(
        ROI_HEADS_REGISTRY, "StandardROIHeads", "Res5ROIHeads", "CascadeROIHeads"
    ),
    "MODEL.ROI_HEADS.NUM_CLASSES": one_of(1),
    "MODEL.ROI_HEADS.PRETRAINED_CLASSES": COUNT,
    "MODEL.ROI_HEADS.IN_FEATURES": some(NAMES),
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": each(SHARE, 1),
    "MODEL.ROI_HEADS.IOU_LABELS": LABELS,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": COUNT,
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": SHARE,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": SHARE,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": SHARE,
    "MODEL.ROI_BOX_HEAD.NAME": registered(ROI_BOX_HEAD_REGISTRY),
    # MODEL.REID.REFINED_BOXES in its place, with labels of the refined boxes
    "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES": OFF,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": BOX_LOSS,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": each(POSITIVE, 4),
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": COUNT,
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": one_of("ROIPool", "ROIAlign", "ROIAlignV2"),
    "MODEL.ROI_BOX_HEAD.FC_DIM": COUNT,
    "MODEL.ROI_BOX_HEAD.CONV_DIM": COUNT,
    "MODEL.ROI_BOX_HEAD.NORM": NORM,
    "MODEL.REID.NAME": registered(REID_BRANCH_REGISTRY),
    "MODEL.REID.LEVELS": some(NAMES),
    "MODEL.REID.NMS_THRESH_TEST": SHARE,
    "MODEL.REID.POOL_SIZE": SIZE,
    "MODEL.REID.CROP_SIZE": SIZE,
    "MODEL.REID.BACKBONE.NAME": registered(BACKBONE_REGISTRY),
    "MODEL.REID.BACKBONE.FREEZE_AT": STAGES,
    "MODEL.REID.BACKBONE.LAST_STRIDE": one_of(1, 2),
    "MODEL.REID.BACKBONE.STEM.POOL": one_of(*STEM_POOLS),
    "MODEL.REID.BACKBONE.STEM.RELU": one_of(False, True),
    "MODEL.REID.BACKBONE.IBN": one_of(False, True),
    "MODEL.REID.BACKBONE.NON_LOCAL": each(Check(lambda x: x in range(37), lambda: "0 to 36"), 4),
    "MODEL.REID.INPUT.FORMAT": one_of("", "RGB", "BGR"),
    "MODEL.REID.INPUT.PIXEL_MEAN": each(at_least(0), 0, 3),
    "MODEL.REID.INPUT.PIXEL_STD": each(POSITIVE, 0, 3),
    "MODEL.REID.AUGMENT.ERASING": SHARE,
    "MODEL.REID.AUGMENT.BLUR": SHARE,
    "MODEL.REID.HEAD.NAME": registered(REID_HEAD_REGISTRY),
    "MODEL.REID.HEAD.POOL": one_of("avg", "gem"),
    "MODEL.REID.HEAD.GEM_P": POSITIVE,
    "MODEL.REID.HEAD.NECK": one_of("none", "bn", "fc_bn", "fc_bn_relu"),
    "MODEL.REID.HEAD.HIDDEN_DIM": COUNT,
    "MODEL.REID.HEAD.EMBED_DIM": COUNT,
    "MODEL.REID.HEAD.NORM": NORM,
    "MODEL.REID.CLASSIFIER": registered(ID_CLASSIFIER_REGISTRY),
    "MODEL.REID.COSINE.SCALE": POSITIVE,
    "MODEL.REID.COSINE.MARGIN": MOMENTUM,
    "MODEL.REID.LABEL_SMOOTHING": MOMENTUM,
    "MODEL.REID.REFINED_IOUS": each(SHARE, 2),
    "MODEL.REID.REFINED_SWITCH": SHARE,
    "MODEL.REID.OIM.MOMENTUM": MOMENTUM,
    "MODEL.REID.OIM.TEMPERATURE": POSITIVE,
    "MODEL.REID.ID_LEVELS": NAMES,
    "MODEL.REID.ALIGN.TEMPERATURE": POSITIVE,
    "MODEL.REID.ALIGN.TARGETS": NAMES,
    "MODEL.REID.ALIGN.RAMP": SHARE,
    "INPUT.MIN_SIZE_TRAIN": some(each(COUNT)),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": one_of("choice", "range"),
    "INPUT.MAX_SIZE_TRAIN": COUNT,
    "INPUT.MIN_SIZE_TEST": Check(lambda x: x >= 0, lambda: "pixels, or 0 for images as they are"),
    "INPUT.MAX_SIZE_TEST": COUNT,
    "INPUT.RANDOM_FLIP": one_of("none", "horizontal", "vertical"),
    "INPUT.CROP.TYPE": one_of("relative", "relative_range", "absolute", "absolute_range"),
    "INPUT.CROP.SIZE": each(POSITIVE, 2),
    "INPUT.FORMAT": one_of("RGB", "BGR"),
    "DATASETS.TRAIN": NAMES,
    "DATASETS.TEST": NAMES,
    "DATALOADER.SAMPLER_TRAIN": one_of(
        "TrainingSampler", "IdentitySampler", "SceneIdentitySampler"
    ),
    "DATALOADER.IMS_PER_IDENTITY": COUNT,
    "SOLVER.LR_SCHEDULER_NAME": one_of("WarmupMultiStepLR", "WarmupCosineLR"),
    "SOLVER.EPOCHS": Check(lambda x: 0 <= x <= 1e6, lambda: "a number from 0 to 1000000"),
    "SOLVER.MAX_ITER": COUNT,
    "SOLVER.BASE_LR": POSITIVE,
    "SOLVER.MOMENTUM": MOMENTUM,
    "SOLVER.OPTIMIZER": one_of("SGD", "AdamW"),
    "SOLVER.LAYER_DECAY": Check(lambda x: 0 < x <= 1, lambda: "a number above 0, up to 1"),
    "SOLVER.EMA.DECAY": MOMENTUM,
    "SOLVER.WEIGHT_DECAY_BIAS": Check(
        lambda x: x is None or 0 <= x < math.inf, lambda: "a number of 0 or more, or None"
    ),
    "SOLVER.GAMMA": POSITIVE,
    "SOLVER.STEPS": Check(
        lambda x: all(isinstance(n, int) and n >= 0 for n in x) and sorted(set(x)) == list(x),
        lambda: "a list of rising iterations",
    ),
    "SOLVER.WARMUP_METHOD": one_of("linear", "constant"),
    "SOLVER.CHECKPOINT_PERIOD": COUNT,
    "SOLVER.IMS_PER_BATCH": COUNT,
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": one_of("value", "norm"),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": POSITIVE,
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": Check(lambda x: x > 0, lambda: "a number above 0, or inf"),
    "SOLVER.ACCUMULATION_STEPS": COUNT,
    "TEST.EXPECTED_RESULTS": ANY,
    "TEST.DETECTIONS_PER_IMAGE": Check(
        lambda x: x == -1 or x >= 1, lambda: "1 or more, or -1 for all"
    ),
    "TEST.IMS_PER_BATCH": COUNT,
}
"""Checks by key; those of a ResNet, ConvNeXt or Swin hold below MODEL.REID.BACKBONE too."""


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
        check = CHECKS.get(key, CHECKS.get(key.replace("MODEL.REID.BACKBONE.", "MODEL."), PLAIN))
        if not _accepts(check, values[key]):
            source = (sources or {}).get(key)
            raise InputError(
                f"{f'{source}: ' if source else ''}{key} is {show_value(values[key])}; "
                f"expected {check.describe()}"
            )

    sizes = cfg.INPUT.MIN_SIZE_TRAIN
    if cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING == "range" and len(sizes) != 2:
        raise InputError(
            f"INPUT.MIN_SIZE_TRAIN is {show_value(sizes)}; expected the smallest and the largest "
            "size, because INPUT.MIN_SIZE_TRAIN_SAMPLING is 'range'"
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
