"""Training runs of tests, with the loss of every iteration."""

from detectron2.engine import HookBase
from detectron2.utils import comm

from clsa_search.engine import PersonSearchTrainer

SIX_STEPS = [
    *("SOLVER.MAX_ITER", "6", "SOLVER.CHECKPOINT_PERIOD", "3"),
    *("SOLVER.WARMUP_ITERS", "4", "SOLVER.STEPS", "(5,)"),
]
"""Six iterations with warm-up, a step of the learning rate and two checkpoints."""


class Losses(HookBase):
    """The total loss of every iteration, on the main process."""

    def __init__(self):
        self.by_iteration = {}

    def after_step(self):
        if comm.is_main_process():
            latest = self.trainer.storage.latest()
            self.by_iteration[self.trainer.iter] = latest["total_loss"][0]


def train(cfg, *, resume=False):
    """Train; return the trainer and {iteration: total loss}."""
    trainer = PersonSearchTrainer(cfg)
    losses = Losses()
    trainer.register_hooks([losses])
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer, losses.by_iteration
