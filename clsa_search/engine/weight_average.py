"""Exponential moving average of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from detectron2.engine import HookBase
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

_STATISTICS = ("running_mean", "running_var")


class AverageWeights(HookBase):
    """Exponential moving average of a model's weights, for its evaluation.

    It follows the steps of the optimizer. Accumulated parts of a batch and the skipped steps of
    half precision do not count. The decay rises from 0.1 to its value, because the first weights
    should not linger. The running statistics of batch norm are averaged too: those of the last
    weights fit the averages less well. All other buffers are evaluated as they are. Source: Polyak
    and Juditsky, 1992; the rise is TensorFlow's.

    A checkpoint holds the averages as the model, and the trained values in the state of this hook.

    Args:
        model: the model; it may be wrapped for several processes.
        optimizer: its optimizer.
        decay: share of the old average in the new one, in [0, 1).
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        if isinstance(model, DistributedDataParallel):
            model = model.module
        averaged = {name: x.detach() for name, x in model.named_parameters() if x.requires_grad}
        averaged |= {name: x for name, x in model.named_buffers() if name.endswith(_STATISTICS)}
        self._names = list(averaged)
        self._inside = list(averaged.values())  # the memory of the model
        self._beside = [values.clone() for values in self._inside]
        optimizer.register_step_post_hook(self._update)

    def before_train(self) -> None:
        """Begin with the weights of the start; they may be loaded after the construction."""
        if self.steps == 0:
            torch._foreach_copy_(self._beside, self._inside)

    def _update(self, optimizer: Optimizer, args: object, kwargs: object) -> None:
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self._beside, self._inside, 1 - decay)
        self.steps += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Exchange the weights of the model and their averages; no step may be made meanwhile."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        kept = [values.clone() for values in self._inside]
        torch._foreach_copy_(self._inside, self._beside)
        torch._foreach_copy_(self._beside, kept)

    def state_dict(self) -> dict:
        """Return the number of steps and the values beside the model: averages, or trained ones."""
        beside = dict(zip(self._names, self._beside, strict=True))
        return {"steps": self.steps, "beside": beside}

    def load_state_dict(self, state_dict: dict) -> None:
        """Take the state of a checkpoint; the model holds the averages of the checkpoint."""
        self.steps = state_dict["steps"]
        for name, values in zip(self._names, self._beside, strict=True):
            values.copy_(state_dict["beside"][name])
        self._exchange()
