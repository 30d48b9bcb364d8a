"""Runs of the ablation: training and evaluation of each variant and seed in own processes.

A run of crops is one training, which evaluates at its end. A run of images evaluates in a second
process, with ground-truth boxes too.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode

from benchmarks.ablation.variants import VARIANTS, Variant
from clsa_search.atomic_io import replace_file
from clsa_search.config_files import read_config
from clsa_search.data.crop_mapper import uses_crops
from clsa_search.engine import load_config
from clsa_search.engine.inference import inference_dir
from clsa_search.errors import InputError
from clsa_search.evaluation import PREDICTIONS_FILE

REQUESTED_FILE = "requested.yaml"
LOG_FILE = "output.log"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_NEVER = 10**9  # iterations
_MACHINE_KEYS = {"OUTPUT_DIR", "MODEL.DEVICE", "DATALOADER.NUM_WORKERS"}  # do not affect the model


class RunFailure(RuntimeError):
    """Failed command of a run; details are in its log."""


@dataclass(frozen=True)
class Run:
    """Variant with a seed.

    Args:
        variant: variant of the config.
        seed: value of SEED.
        cfg: complete config.
        folder: output folder.
        commands: training and evaluation; both resume interrupted work. Empty for a run that is
            only read.
    """

    variant: Variant
    seed: int
    cfg: CfgNode
    folder: Path
    commands: list[list[str]]

    @property
    def eval_dir(self) -> Path:
        """Return the folder of the evaluation."""
        if not uses_crops(self.cfg):
            return self.folder / "eval"
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.OUTPUT_DIR = str(self.folder)
        return Path(inference_dir(cfg, cfg.DATASETS.TEST[0]))

    @property
    def is_finished(self) -> bool:
        """Return whether the predictions exist; they are the last file, written atomically."""
        return (self.eval_dir / PREDICTIONS_FILE).is_file()


def plan_runs(
    variants: Sequence[Variant],
    seeds: Sequence[int],
    *,
    config_file: str,
    opts: Sequence[str],
    output_dir: str | Path,
    tools: Path,
    num_gpus: int = 1,
) -> list[Run]:
    """Plan the runs of a grid, seed by seed: all variants have a result early.

    Args:
        variants: distinct models under this config.
        seeds: seeds of 0 or more.
        config_file: config that the variants change.
        opts: KEY VALUE pairs of all runs; changes of a variant take precedence.
        output_dir: folder of the runs; may hold runs of an earlier call.
        tools: folder with train_net.py and eval_search.py.
        num_gpus: number of GPUs per training.

    Raises:
        InputError: if config or seed are invalid, there is not exactly one test set, two variants
            are equal, or a folder holds a run of another config.
    """
    runs = []
    for seed in dict.fromkeys(seeds):
        if seed < 0:
            raise InputError(f"--seeds: {seed}; expected 0 or more: others are random")
        for variant in variants:
            words = [*opts, *variant.opts, "SEED", str(seed)]
            cfg = load_config(config_file, words)
            folder = Path(output_dir) / variant.name / f"seed{seed}"
            commands = _make_commands(config_file, words, cfg, folder, tools, num_gpus)
            runs.append(Run(variant, seed, cfg, folder, commands))
    _check_variants(runs)
    for run in runs:
        _check_folder(run)
    return runs


def find_finished(output_dir: Path) -> list[Run]:
    """Return the finished runs in a folder, of all variants and seeds.

    Raises:
        InputError: the folder holds none.
    """
    runs = []
    for variant in VARIANTS.values():
        for requested in sorted((output_dir / variant.name).glob(f"seed*/{REQUESTED_FILE}")):
            cfg = CfgNode(_read_requested(requested))
            try:
                run = Run(variant, cfg.SEED, cfg, requested.parent, [])
                is_finished = run.is_finished
            except (AttributeError, TypeError, IndexError) as error:
                raise InputError(
                    f"{requested}: {error}; expected the whole config of a run, as the grid wrote "
                    "it, or no such folder"
                ) from error
            if is_finished:
                runs.append(run)
    if not runs:
        raise InputError(f"{output_dir}: holds no finished run; expected the folder of a grid")
    return runs


def execute_all(
    runs: Sequence[Run], jobs: int = 1, *, keep_weights: bool = True
) -> Iterator[tuple[Run, float, RunFailure | None]]:
    """Execute runs; yield each with its seconds and its failure when it ends.

    Args:
        runs: runs to execute.
        jobs: number of runs at a time; each of several has one thread.
        keep_weights: whether runs of crops keep their last checkpoint.
    """
    threads = 1 if jobs > 1 else None
    pool = ThreadPoolExecutor(jobs)
    try:
        pending = {pool.submit(_try_run, run, threads, keep_weights): run for run in runs}
        for future in as_completed(pending):
            yield pending[future], *future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _try_run(run: Run, threads: int | None, keep_weights: bool) -> tuple[float, RunFailure | None]:
    start, failure = time.monotonic(), None
    try:
        execute(run, threads)
        if not keep_weights and uses_crops(run.cfg):
            for path in (*run.folder.glob("*.pth"), run.folder / "last_checkpoint"):
                path.unlink(missing_ok=True)
    except RunFailure as error:
        failure = error
    return time.monotonic() - start, failure


def execute(run: Run, threads: int | None = None) -> None:
    """Train and evaluate in own processes, from the point of an earlier interruption.

    Args:
        run: run to execute.
        threads: threads of a process; None for PyTorch's own choice.

    Raises:
        RunFailure: if a command fails; the message has the last line of its output.
    """
    requested, log = run.folder / REQUESTED_FILE, run.folder / LOG_FILE
    if not requested.exists():
        with replace_file(requested) as file:
            file.write(run.cfg.dump().encode())
    limits = {} if threads is None else dict.fromkeys(_THREADS, str(threads))
    for command in run.commands:
        with log.open("ab") as file:
            done = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **limits}
            )
        if done.returncode:
            last = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
            name = Path(command[1]).name
            raise RunFailure(f"{name} ended with status {done.returncode}: {last} (see {log})")


def _make_commands(
    config_file: str, words: list[str], cfg: CfgNode, folder: Path, tools: Path, num_gpus: int
) -> list[list[str]]:
    if len(cfg.DATASETS.TEST) != 1:
        raise InputError(f"DATASETS.TEST is {cfg.DATASETS.TEST}; expected exactly one dataset")
    train = ["train_net.py", "--config-file", config_file, "--num-gpus", str(num_gpus), "--resume"]
    train += [*words, "OUTPUT_DIR", str(folder)]
    if uses_crops(cfg):  # it evaluates at its end; only then its predictions exist
        train += ["TEST.EVAL_PERIOD", "0", "SOLVER.CHECKPOINT_PERIOD", str(_NEVER)]
        return [[sys.executable, str(tools / train[0]), *train[1:]]]
    train += ["DATASETS.TEST", "()"]
    evaluate = ["eval_search.py", "--config-file", config_file, "--dataset", cfg.DATASETS.TEST[0]]
    evaluate += ["--weights", str(folder / "model_final.pth"), "--output-dir", str(folder / "eval")]
    evaluate += ["--gt-boxes", *words]
    return [[sys.executable, str(tools / name), *rest] for name, *rest in (train, evaluate)]


def _check_variants(runs: Sequence[Run]) -> None:
    by_config: dict[str, Run] = {}
    for run in runs:
        first = by_config.setdefault(run.cfg.dump(), run)
        if first is not run:
            raise InputError(
                f"--variants: {first.variant.name!r} and {run.variant.name!r} are the same model "
                f"under this config; expected one of them"
            )


def _check_folder(run: Run) -> None:
    """Check that existing files come from the requested config."""
    requested = run.folder / REQUESTED_FILE
    if not requested.exists():
        if (run.folder / "last_checkpoint").exists():
            raise InputError(
                f"{run.folder}: holds a checkpoint but no {REQUESTED_FILE} with its config; "
                "expected an empty folder or an interrupted run of this command"
            )
        return
    before = _flatten(_read_requested(requested))
    now = _flatten(yaml.safe_load(run.cfg.dump()))
    # A key in only one of them was added or removed by the code.
    for key in sorted(before.keys() & now.keys() - _MACHINE_KEYS):
        if before[key] != now[key]:
            raise InputError(
                f"{run.folder}: holds a run of another config: {key} was {before[key]}, now it is "
                f"{now[key]}; expected the same config, or another --output-dir"
            )


def _read_requested(path: Path) -> dict[str, Any]:
    """Return the config of a run, which may lack keys of today."""
    return read_config(str(path))[-1][1]


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn {"A": {"B": 1}} into {"A.B": 1}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= (
            _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat
