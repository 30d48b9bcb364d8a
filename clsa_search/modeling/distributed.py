"""Agreement between the processes of a distributed training; one process alone sends nothing.

R rows of a process, N processes.
"""

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch.nn import functional as F


def mean_count(counts: torch.Tensor) -> torch.Tensor:
    """Return counts summed over all processes, at least 1, divided by the number of processes.

    Divide the sum of a process's losses by its mean count. After the averaging of
    DistributedDataParallel, the gradient is then that of the joint batch.

    Args:
        counts: any shape, integer or float.

    Returns:
        The same shape, float32, without gradient.
    """
    counts = counts.detach().to(torch.float32, copy=True)
    if comm.get_world_size() > 1:
        dist.all_reduce(counts)
    return counts.clamp(min=1) / comm.get_world_size()


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """Concatenate the rows of all processes in the order of their ranks, without gradient.

    Args:
        rows: (R, ...); each process may have another R.
    """
    rows = rows.detach()
    if comm.get_world_size() == 1:
        return rows
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.empty_like(count) for _ in range(comm.get_world_size())]
    dist.all_gather(counts, count)
    longest = max(int(n) for n in counts)
    padding = [0, 0] * (rows.dim() - 1) + [0, longest - len(rows)]
    padded = F.pad(rows, padding)
    gathered = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(gathered, padded)
    return torch.cat([part[: int(n)] for part, n in zip(gathered, counts, strict=True)])


def gather_rows_with_gradient(rows: torch.Tensor) -> torch.Tensor:
    """Concatenate the rows of all processes; those of this process keep their gradient.

    A loss of the joint batch then has, in each process, the gradient of that process's rows. Scale
    it with `scale_gradient`, because DistributedDataParallel averages the gradients.

    Args:
        rows: (R, ...); each process may have another R.
    """
    if comm.get_world_size() == 1:
        return rows
    gathered = gather_rows(rows)
    counts = gather_rows(torch.tensor([len(rows)], device=rows.device)).tolist()
    start = sum(counts[: comm.get_rank()])
    return torch.cat([gathered[:start], rows, gathered[start + len(rows) :]])


def scale_gradient(loss: torch.Tensor) -> torch.Tensor:
    """Return a loss of the joint batch with its gradient times the number of processes."""
    processes = comm.get_world_size()
    return loss if processes == 1 else processes * loss - (processes - 1) * loss.detach()
