"""Commands in several processes, on one machine or on two."""

import argparse
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

from clsa_search.engine import (
    PersonSearchCheckpointer,
    PersonSearchTrainer,
    launch,
    load_config,
    predict,
)
from clsa_search.errors import InputError
from clsa_search.evaluation import load_predictions
from tests.support.processes import run_together
from tests.support.tiny import ROOT

TRAIN_NET = str(ROOT / "tools" / "train_net.py")


def run(command, **variables):
    """Start a command on the CPU and return its process."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"} | variables
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, *command], env=environment, **pipes)


def finish(process):
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    return output


def test_torchrun_evaluates_like_one_process(demo_config_file, tiny_opts, tmp_path):
    cfg = load_config(demo_config_file, tiny_opts)
    PersonSearchCheckpointer(build_model(cfg), str(tmp_path)).save("model")
    opts = [*tiny_opts, "MODEL.WEIGHTS", str(tmp_path / "model.pth")]
    (gallery,) = cfg.DATASETS.TEST
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [TRAIN_NET, "--config-file", demo_config_file, "--eval-only", *opts]
    output = finish(run([*torchrun, *command]))
    assert "mAP" in output
    results = predict(load_config(demo_config_file, opts), gallery, str(tmp_path / "one"))
    assert results["search"]
    (two,) = Path(cfg.OUTPUT_DIR).glob("inference/*/predictions.npz")
    one, two = load_predictions(tmp_path / "one" / "predictions.npz"), load_predictions(two)
    order = [two.image_ids.tolist().index(image) for image in one.image_ids]
    assert len(order) == len(two.image_ids)
    for position, image in enumerate(order):
        expected, found = one.detections.row(position), two.detections.row(image)
        for field in ("boxes", "scores", "embeddings"):
            np.testing.assert_allclose(getattr(found, field), getattr(expected, field), atol=1e-5)


def find_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_two_machines_train_one_model(demo_config_file, tiny_opts):
    """Two processes with the variables of torchrun on two machines."""
    opts = [*tiny_opts, "SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "4"]
    opts += ["SOLVER.ACCUMULATION_STEPS", "2", "SOLVER.CHECKPOINT_PERIOD", "1"]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": find_port(), "WORLD_SIZE": "2"}
    command = [TRAIN_NET, "--config-file", demo_config_file, *opts]
    machines = [
        run(command, **meeting, RANK=rank, LOCAL_RANK="0", LOCAL_WORLD_SIZE="1")
        for rank in ("0", "1")
    ]
    for machine in machines:
        finish(machine)
    folder = Path(load_config(demo_config_file, opts).OUTPUT_DIR)
    assert (folder / "model_final.pth").is_file()
    last = json.loads((folder / "metrics.json").read_text().splitlines()[-1])
    assert last["iteration"] == 2 and "search/mAP" in last


def train_and_evaluate(rank, config_file, opts, folder):
    trainer = PersonSearchTrainer(load_config(config_file, opts))
    exchanges = []

    def count(state, bucket):
        if bucket.is_last():
            exchanges.append(bucket.index())
        return default_hooks.allreduce_hook(state, bucket)

    trainer.model.register_comm_hook(None, count)
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert len(exchanges) == 3, "one exchange of gradients a step, not one a part"
    state = {name: value.clone() for name, value in trainer.model.module.state_dict().items()}
    torch.save(state, folder / f"{rank}.pth")


def test_processes_have_one_model_and_evaluate_it(demo_config_file, tiny_opts, tmp_path):
    opts = [*tiny_opts, "SOLVER.MAX_ITER", "3", "SOLVER.IMS_PER_BATCH", "4"]
    opts += ["SOLVER.ACCUMULATION_STEPS", "2"]
    run_together(train_and_evaluate, demo_config_file, opts, tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pth") for rank in (0, 1))
    # also the statistics of batch norm: evaluation takes those of the main process
    for name, value in first.items():
        assert torch.equal(second[name], value), name


@pytest.mark.parametrize("machines", [1, 2])
def test_too_few_gpus_are_an_error(machines):
    args = argparse.Namespace(num_gpus=torch.cuda.device_count() + 2, num_machines=machines)
    with pytest.raises(InputError, match="torchrun --nproc_per_node"):
        launch(print, args)


def test_more_processes_than_gpus_are_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(InputError, match="started 2 processes on this machine, but it has 1 GPU;"):
        launch(print, argparse.Namespace())
