"""Functions run by several processes that meet over gloo, as on several GPUs."""

import os
import tempfile

import torch
import torch.distributed as dist


def run_together(function, *args, count=2):
    """Call function(rank, *args) in count processes of one gloo group; wait for all of them.

    Errors of a process are raised here.
    """
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_join, (folder, count, function, args), nprocs=count)


def _join(rank, folder, count, function, args):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=count)
    function(rank, *args)
    dist.barrier()
    # not through the interpreter's shutdown: a gloo thread that then frees one of the buffers
    # Detectron2 gathers from Python aborts the process, now and then
    os._exit(0)
