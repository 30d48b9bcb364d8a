"""What a training run does beside its steps."""

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
    """Makes the randomness of a step a function of seed, iteration and rank alone."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_step(self) -> None:
        sequence = np.random.SeedSequence((self.seed, self.trainer.iter, comm.get_rank()))
        seed_all_rng(int(sequence.generate_state(1)[0]))


class DrawCurves(HookBase):
    """Draws losses and metrics beside the other traces of a run when training ends."""

    def __init__(self, output_dir: str) -> None:
        self.output_dir = output_dir

    def after_train(self) -> None:
        # Detectron2 calls this after a failure too, whose error must stay the one that is seen
        if comm.is_main_process() and self.trainer.iter >= self.trainer.max_iter:
            try:
                draw_curves(
                    os.path.join(self.output_dir, "metrics.json"),
                    os.path.join(self.output_dir, "curves.png"),
                )
            except InputError as error:
                logger.warning("No curves are drawn: %s", error)
