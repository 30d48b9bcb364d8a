"""A training step in mixed precision, with gradients accumulated over parts of the batch."""

import time
from contextlib import nullcontext

import torch
from detectron2.engine import SimpleTrainer
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from clsa_search.data.build import TrainingLoader
from clsa_search.errors import InputError


class AccumulatingTrainer(SimpleTrainer):
    """Detectron2's step in any precision, for batches larger than the memory.

    Args:
        model: module that returns a dict of losses.
        data_loader: batches of this process.
        optimizer: optimizer of the model. Gradients are unscaled when its `step` is called, so it
            may clip them there.
        amp_dtype: see :func:`.read_amp_dtype`; float16 scales the losses.
        accumulation_steps: number of equal parts of a batch; each is one forward and backward pass.
            Batch norm sees one part at a time, and each loss is averaged over a part, so boxes of a
            part with few boxes weigh more than in the whole batch.

    Raises:
        InputError: the batch does not divide into equal parts.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: TrainingLoader,
        optimizer: torch.optim.Optimizer,
        *,
        amp_dtype: torch.dtype | None = None,
        accumulation_steps: int = 1,
    ) -> None:
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
        """Train on one batch."""
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        self.optimizer.zero_grad()
        size = len(batch) // self.accumulation_steps
        parts = [batch[i : i + size] for i in range(0, len(batch), size)]
        losses = [self._backward(part, last=part is parts[-1]) for part in parts]
        # before the update: a loss that is not finite ends the run here
        self._write_metrics(_average(losses), data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def _backward(self, part: list[dict], *, last: bool) -> dict[str, torch.Tensor]:
        """Add a part's share of the gradients; return its detached losses."""
        model = self.model
        # processes exchange the sum of the gradients once, with the last part
        waits = isinstance(model, DistributedDataParallel) and not last
        with model.no_sync() if waits else nullcontext():
            with torch.autocast(self.device_type, self.amp_dtype, enabled=bool(self.amp_dtype)):
                losses = model(part)
            self.grad_scaler.scale(sum(losses.values()) / self.accumulation_steps).backward()
        return {key: loss.detach() for key, loss in losses.items()}

    def state_dict(self) -> dict:
        """Return Detectron2's state and the loss scale."""
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """Restore the state of a checkpoint."""
        super().load_state_dict(state_dict)
        # empty after a run without float16
        if state_dict.get("grad_scaler"):
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])


def _average(losses: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the means of the losses of all parts on the CPU; the host waits for a GPU once."""
    keys = list(losses[0])
    means = torch.stack([x[key] for x in losses for key in keys]).view(-1, len(keys)).mean(dim=0)
    return dict(zip(keys, means.cpu(), strict=True))
