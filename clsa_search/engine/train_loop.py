"""One training step: mixed precision, and gradients accumulated over parts of the batch."""

import time
from contextlib import nullcontext

import torch
from detectron2.engine import SimpleTrainer
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from clsa_search.data.build import TrainingLoader
from clsa_search.errors import InputError


class AccumulatingTrainer(SimpleTrainer):
    """Detectron2's step in any precision, on a batch that may be larger than the memory."""

    def __init__(
        self,
        model: nn.Module,
        data_loader: TrainingLoader,
        optimizer: torch.optim.Optimizer,
        *,
        amp_dtype: torch.dtype | None = None,
        accumulation_steps: int = 1,
    ) -> None:
        """
        Args:
            model: returns a dict of losses.
            data_loader: its batches are the images of a step of this process.
            optimizer: where it clips gradients, it does so in `step`, which the scaler calls when
                the gradients are unscaled.
            amp_dtype: see :func:`.precision.read_amp_dtype`; float16 scales the losses.
            accumulation_steps: equal parts that a batch is split into, one forward and backward
                pass each. Batch norm sees one part at a time, and the mean of each loss is of a
                part: people of a part with few of them weigh more than in the whole batch.

        Raises:
            InputError: the batch does not divide into so many parts.
        """
        if accumulation_steps < 1 or data_loader.batch_size % accumulation_steps:
            raise InputError(
                f"SOLVER.ACCUMULATION_STEPS is {accumulation_steps}; expected a divisor of "
                f"{data_loader.batch_size}, the images of SOLVER.IMS_PER_BATCH for each process"
            )
        super().__init__(model, data_loader, optimizer)
        self.amp_dtype = amp_dtype
        self.accumulation_steps = accumulation_steps
        self.device_type = next(model.parameters()).device.type
        self.grad_scaler = torch.amp.GradScaler(
            self.device_type, enabled=amp_dtype == torch.float16
        )

    def run_step(self) -> None:
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        self.optimizer.zero_grad()
        size = len(batch) // self.accumulation_steps
        parts = [batch[i : i + size] for i in range(0, len(batch), size)]
        losses = [self._backward(part, last=part is parts[-1]) for part in parts]
        means = {key: torch.stack([x[key] for x in losses]).mean() for key in losses[0]}
        # before the update: it ends the run where a loss is not finite
        self._write_metrics(means, data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def _backward(self, part: list[dict], *, last: bool) -> dict[str, torch.Tensor]:
        """Add the gradients of a part's share of the mean loss; its losses, detached."""
        distributed = isinstance(self.model, DistributedDataParallel)
        # the processes exchange the sum of the gradients once, with the last part
        with self.model.no_sync() if distributed and not last else nullcontext():
            with torch.autocast(self.device_type, self.amp_dtype, enabled=bool(self.amp_dtype)):
                losses = self.model(part)
            self.grad_scaler.scale(sum(losses.values()) / self.accumulation_steps).backward()
        return {key: loss.detach() for key, loss in losses.items()}

    def state_dict(self) -> dict:
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        # empty where the run was not in float16 so far
        if state_dict.get("grad_scaler"):
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
