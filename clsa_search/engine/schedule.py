"""A schedule in epochs: the length of a training from the number of its images."""

import logging
import math
from collections.abc import Sequence

from detectron2.config import CfgNode

from clsa_search.wording import count_noun

logger = logging.getLogger(__name__)


def with_schedule(cfg: CfgNode, records: Sequence[dict]) -> CfgNode:
    """Return the config with MAX_ITER for SOLVER.EPOCHS, and the rest of the schedule scaled.

    SOLVER.STEPS, SOLVER.WARMUP_ITERS, SOLVER.CHECKPOINT_PERIOD and TEST.EVAL_PERIOD keep their
    proportion to SOLVER.MAX_ITER, as in Detectron2's `auto_scale_workers`. A second call changes
    nothing, so a run can be resumed with either config.

    Args:
        cfg: config of a training.
        records: records of DATASETS.TRAIN.

    Returns:
        The config itself if SOLVER.EPOCHS is 0.
    """
    solver = cfg.SOLVER
    if not solver.EPOCHS:
        return cfg
    iterations = max(math.ceil(solver.EPOCHS * len(records) / solver.IMS_PER_BATCH), 1)
    scale = iterations / solver.MAX_ITER
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.MAX_ITER = iterations
    cfg.SOLVER.STEPS = tuple(sorted({round(step * scale) for step in solver.STEPS}))
    cfg.SOLVER.WARMUP_ITERS = round(solver.WARMUP_ITERS * scale)
    cfg.SOLVER.CHECKPOINT_PERIOD = max(round(solver.CHECKPOINT_PERIOD * scale), 1)
    if cfg.TEST.EVAL_PERIOD:
        cfg.TEST.EVAL_PERIOD = max(round(cfg.TEST.EVAL_PERIOD * scale), 1)
    cfg.freeze()
    logger.info(
        "%g epochs of %s: %s of %d, %d of them warm-up, steps at %s, a checkpoint every %d, an "
        "evaluation every %d",
        solver.EPOCHS,
        count_noun(len(records), "image"),
        count_noun(iterations, "iteration"),
        solver.IMS_PER_BATCH,
        cfg.SOLVER.WARMUP_ITERS,
        list(cfg.SOLVER.STEPS),
        cfg.SOLVER.CHECKPOINT_PERIOD,
        cfg.TEST.EVAL_PERIOD,
    )
    return cfg


def warn_of_long_warmup(cfg: CfgNode) -> None:
    """Log a warning if the learning rate does not reach SOLVER.BASE_LR before the training ends."""
    solver = cfg.SOLVER
    if solver.WARMUP_ITERS >= solver.MAX_ITER and solver.WARMUP_FACTOR != 1:
        logger.warning(
            "SOLVER.WARMUP_ITERS is %d, but the training has %s: the learning rate never reaches "
            "SOLVER.BASE_LR; expected a tenth of the iterations, or fewer",
            solver.WARMUP_ITERS,
            count_noun(solver.MAX_ITER, "iteration"),
        )
