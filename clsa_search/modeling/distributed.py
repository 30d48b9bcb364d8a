"""What the processes of a distributed training must agree on; alone, nothing is sent.

R rows of a process, N processes.
"""

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch.nn import functional as F


def mean_count(counts: torch.Tensor) -> torch.Tensor:
    """Counts, at least 1 in all, divided by the number of processes; float32, without gradient.

    A loss summed over a process's rows and divided by the mean count of rows has, after
    DistributedDataParallel's averaging, the gradient of the joint batch.
    """
    counts = counts.detach().to(torch.float32, copy=True)
    if comm.get_world_size() > 1:
        dist.all_reduce(counts)
    return counts.clamp(min=1) / comm.get_world_size()


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """The (R, ...) rows of all processes in the order of their ranks, without gradient.

    The processes may have different R.
    """
    rows = rows.detach()
    if comm.get_world_size() == 1:
        return rows
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.empty_like(count) for _ in range(comm.get_world_size())]
    dist.all_gather(counts, count)
    longest = int(max(counts))
    padding = [0, 0] * (rows.dim() - 1) + [0, longest - len(rows)]
    padded = F.pad(rows, padding)
    gathered = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(gathered, padded)
    return torch.cat([part[: int(n)] for part, n in zip(gathered, counts, strict=True)])
