"""Clipping of gradients in few operations."""

import torch
from detectron2.config import CfgNode
from torch.optim import Optimizer


def clip_each_step(optimizer: Optimizer, cfg: CfgNode) -> None:
    """Clip the gradients of each parameter to SOLVER.CLIP_GRADIENTS before each step.

    Detectron2 clips to a norm with ten operations per parameter. On a GPU their launches take
    longer than the arithmetic. Its optimizers of clipped gradients also call the hooks of a step
    once or twice, depending on what was built before.

    Args:
        optimizer: optimizer that does not clip gradients itself.
        cfg: config of the training.
    """
    clip = cfg.SOLVER.CLIP_GRADIENTS

    def clip_all(optimizer: Optimizer, args: object, kwargs: object) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        parameters = [p for p in parameters if p.grad is not None]
        if not parameters:
            return
        if clip.CLIP_TYPE == "value":
            torch.nn.utils.clip_grad_value_(parameters, clip.CLIP_VALUE)
        else:
            clip_norms(parameters, clip.CLIP_VALUE, clip.NORM_TYPE)

    optimizer.register_step_pre_hook(clip_all)


@torch.no_grad()
def clip_norms(parameters: list[torch.Tensor], max_norm: float, norm_type: float) -> None:
    """Scale each parameter's gradient to a norm of at most `max_norm`, in place.

    The results are those of `torch.nn.utils.clip_grad_norm_`, called for one parameter at a time.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = torch.stack(torch._foreach_norm(gradients, norm_type))
    factors = (max_norm / (norms + 1e-6)).clamp(max=1)
    torch._foreach_mul_(gradients, list(factors.unbind()))
