"""Hooks of a training run."""

import logging
import os

import numpy as np
from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

from clsa_search.errors import InputError
from clsa_search.visualize import draw_curves

logger = logging.getLogger(__name__)


class SeedEveryStep(HookBase):
    """Seeds of an iteration that depend on seed, iteration and rank alone.

    Args:
        seed: seed of the run, SEED of the config.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_step(self) -> None:
        """Seed Python, NumPy and torch."""
        sequence = np.random.SeedSequence((self.seed, self.trainer.iter, comm.get_rank()))
        seed_all_rng(int(sequence.generate_state(1)[0]))


class DrawCurves(HookBase):
    """Plots of losses and metrics, drawn when training ends.

    Args:
        output_dir: folder of the run, with its metrics.json.
    """

    def __init__(self, output_dir: str) -> None:
        self.output_dir = output_dir

    def after_train(self) -> None:
        """Draw curves.png after the last iteration."""
        # Detectron2 calls this after a failure too; its error must stay the one reported
        if comm.is_main_process() and self.trainer.iter >= self.trainer.max_iter:
            try:
                draw_curves(
                    os.path.join(self.output_dir, "metrics.json"),
                    os.path.join(self.output_dir, "curves.png"),
                )
            except InputError as error:
                logger.warning("No curves are drawn: %s", error)
