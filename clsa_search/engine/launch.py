"""Start of a command in one or more processes, by Detectron2's launcher or by torchrun."""

import argparse
import os
from collections.abc import Callable

import torch
import torch.distributed as dist
from detectron2.engine import launch as launch_detectron2
from detectron2.engine.launch import DEFAULT_TIMEOUT
from detectron2.utils import comm

from clsa_search.errors import InputError
from clsa_search.wording import count_noun

TORCHRUN_VARIABLES = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"}


def launch(main: Callable[[argparse.Namespace], object], args: argparse.Namespace) -> None:
    """Run `main(args)` in every process of a command.

    Processes started by torchrun, or by a launcher with the same variables, form a group over NCCL,
    or over gloo without GPUs. Otherwise Detectron2's launcher starts `--num-gpus` processes on each
    of `--num-machines`.

    Args:
        main: function at the top of its module.
        args: num_gpus, num_machines, machine_rank and dist_url of the command line.

    Raises:
        InputError: there are more processes than GPUs.
    """
    if os.environ.keys() >= TORCHRUN_VARIABLES:
        _join_torchrun()
        main(args)
        # all processes end together, before the interpreter's shutdown: a thread of gloo may abort
        comm.synchronize()
        dist.destroy_process_group()
        return
    if args.num_gpus * args.num_machines > 1 and args.num_gpus > torch.cuda.device_count():
        raise InputError(
            f"--num-gpus is {args.num_gpus}, but this machine has "
            f"{count_noun(torch.cuda.device_count(), 'GPU')}; "
            f"torchrun --nproc_per_node {args.num_gpus} starts processes on a CPU"
        )
    launch_detectron2(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )


def _join_torchrun() -> None:
    """Join the group of the processes that torchrun started."""
    local_rank, local_size = (int(os.environ[f"LOCAL_{name}"]) for name in ("RANK", "WORLD_SIZE"))
    gpus = torch.cuda.device_count()
    if 0 < gpus < local_size:
        raise InputError(
            f"torchrun started {local_size} processes on this machine, but it has "
            f"{count_noun(gpus, 'GPU')}; expected at most one process per GPU (an empty "
            "CUDA_VISIBLE_DEVICES hides the GPUs)"
        )
    if gpus:
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if gpus else "gloo", timeout=DEFAULT_TIMEOUT)
    if hasattr(comm, "create_local_process_group"):
        comm.create_local_process_group(local_size)
    else:  # Detectron2 v0.6 does this only in its launcher
        comm._LOCAL_PROCESS_GROUP, _ = dist.new_subgroups(local_size)
