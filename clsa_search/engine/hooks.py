"""Hooks of a training run."""

import logging
import os
from collections.abc import Sequence

import numpy as np
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage

from clsa_search.errors import InputError
from clsa_search.modeling.criterion import CLSACriterion
from clsa_search.modeling.refined_boxes import RefinedBoxLabels
from clsa_search.visualize import draw_curves

WINDOW = 20
"""Number of values over which Detectron2's writers take the median of a scalar."""

logger = logging.getLogger(__name__)


class SeedEveryStep(HookBase):
    """Seeds of an iteration, from seed, iteration and rank alone.

    Args:
        seed: seed of the run, SEED of the config.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_step(self) -> None:
        """Seed Python, NumPy and torch."""
        sequence = np.random.SeedSequence((self.seed, self.trainer.iter, comm.get_rank()))
        seed_all_rng(int(sequence.generate_state(1)[0]))


class FinishStep(HookBase):
    """The end of a resumed iteration: everything after its checkpoint.

    A checkpoint is saved before the evaluation and the metrics of its iteration, so a kill may lose
    them. They are made again when the run is resumed. The checkpoint holds the latest scalars for
    this, so that the medians of later iterations are those of an uninterrupted run.

    Args:
        hooks: hooks after the checkpoint, in order.

    Attributes:
        written: iterations whose scalars are in the metrics already; set it before the training.
    """

    def __init__(self, hooks: Sequence[HookBase]) -> None:
        self.hooks = hooks
        self.scalars: dict[str, dict] = {}
        self.written: set[int] = set()

    def state_dict(self) -> dict:
        """Return the last values of all scalars."""
        storage = getattr(self.trainer, "storage", None)  # made at the start of the training
        if storage is None:
            return {}
        hints = storage.smoothing_hints()
        return {
            name: {"smoothed": hints[name], "values": history.values()[-WINDOW:]}
            for name, history in storage.histories().items()
        }

    def load_state_dict(self, state_dict: dict) -> None:
        """Take the scalars of a checkpoint."""
        self.scalars = state_dict

    def before_train(self) -> None:
        """Finish the iteration of the checkpoint."""
        trainer = self.trainer
        if trainer.start_iter == 0:
            return
        # Detectron2 counts on from here if no iteration is left
        trainer.iter = trainer.start_iter - 1
        self._restore_scalars(trainer.storage)
        trainer.storage.iter = trainer.iter
        if comm.is_main_process() and trainer.start_iter >= trainer.max_iter:
            _save_final(trainer.checkpointer)
        for hook in self.hooks if self.scalars else ():
            hook.after_step()

    def _restore_scalars(self, storage: EventStorage) -> None:
        for name, scalar in self.scalars.items():
            for value, iteration in scalar["values"]:
                storage.iter = iteration
                storage.put_scalar(name, value, smoothing_hint=scalar["smoothed"])
            if iteration in self.written:
                storage.latest()[name] = (value, -1)  # older than all that writers write


def _save_final(checkpointer: DetectionCheckpointer) -> None:
    """Save the final checkpoint, unless it is the last one."""
    if os.path.basename(checkpointer.get_checkpoint_file()) != "model_final.pth":
        checkpointer.save("model_final")


class SetProgress(HookBase):
    """The finished share of the training, told to the losses and labels before each step."""

    def before_step(self) -> None:
        """Set the progress from the iteration alone, so a resumed run continues exactly."""
        share = (self.trainer.iter + 1) / self.trainer.max_iter
        for module in self.trainer.model.modules():
            if isinstance(module, CLSACriterion | RefinedBoxLabels):
                module.set_progress(share)


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
