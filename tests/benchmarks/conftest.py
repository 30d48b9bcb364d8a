"""Fixtures of the tests of the ablation."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.ablation import runs
from clsa_search.evaluation import (
    save_predictions,
)
from tests.support.ablation_cases import make_predictions
from tests.support.tiny import load_tool


@pytest.fixture
def processes(monkeypatch, tiny_data):
    """Stands for training and evaluation; `started` tells what was, `broken` what fails."""

    processes = SimpleNamespace(started=[], broken="", threads=set())

    def run(command, stdout, stderr, env):
        words = command[1:]
        processes.started.append(words)
        processes.threads.add(env.get("OMP_NUM_THREADS"))
        if processes.broken and any(processes.broken in word for word in words):
            stdout.write(b"two lines\nerror: out of memory\n")
            return subprocess.CompletedProcess(command, 3)
        if words[0].endswith("eval_search.py"):
            folder = Path(words[words.index("--output-dir") + 1])
            variant, seed = folder.parent.parent.name, folder.parent.name
            predictions = make_predictions(
                tiny_data / "gallery.json", [len(variant), int(seed[4:])]
            )
            save_predictions(predictions, folder / "predictions.npz")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(runs.subprocess, "run", run)
    return processes


@pytest.fixture
def ablate(demo_config_file, tiny_opts, tmp_path, capsys):
    """Runs the command into tmp_path / "grid"; returns what it printed."""
    tool = load_tool("ablate")

    def ablate(*argv, opts=()):
        folder = ["--output-dir", str(tmp_path / "grid")]
        words = ["--config-file", demo_config_file, *argv, *folder, *tiny_opts, *opts]
        try:
            tool.main(list(map(str, words)))
        finally:
            ablate.printed = capsys.readouterr()
        return ablate.printed.out

    return ablate
