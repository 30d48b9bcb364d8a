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
