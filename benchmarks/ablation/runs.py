"""The runs of an ablation: each is trained and evaluated by the commands a user would type.

A run is a folder, OUTPUT/<row>/seed<s>, with what `tools/train_net.py` leaves in it, `eval/` of
`tools/eval_search.py`, `output.log`, and `requested.yaml`, the config that was asked for.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode

from benchmarks.ablation.variants import Variant
from clsa_search.atomic_io import replace_file
from clsa_search.engine import load_config
from clsa_search.errors import InputError
from clsa_search.evaluation import PREDICTIONS_FILE

REQUESTED_FILE = "requested.yaml"
LOG_FILE = "output.log"
_WHERE = {"OUTPUT_DIR", "MODEL.DEVICE", "DATALOADER.NUM_WORKERS"}  # says nothing of the model


class RunFailure(RuntimeError):
    """A command of a run ended with an error, which its log tells."""


@dataclass(frozen=True)
class Run:
    """A row with a seed."""

    row: Variant
    seed: int
    cfg: CfgNode
    folder: Path
    commands: list[list[str]]  # train, evaluate; both take up what was interrupted

    @property
    def eval_dir(self) -> Path:
        return self.folder / "eval"

    @property
    def is_finished(self) -> bool:
        return (self.eval_dir / PREDICTIONS_FILE).is_file()  # is written last, and whole


def plan_runs(
    rows: Sequence[Variant],
    seeds: Sequence[int],
    *,
    config_file: str,
    opts: Sequence[str],
    output_dir: str | Path,
    tools: Path,
    num_gpus: int = 1,
) -> list[Run]:
    """The runs of a grid, seed by seed, so that early on every row has a figure.

    Args:
        rows: different models under this config.
        seeds: at least 0.
        config_file: what the rows change.
        opts: KEY VALUE pairs for all runs; a row's changes win.
        output_dir: may hold runs of an earlier call.
        tools: the folder of train_net.py and eval_search.py.
        num_gpus: of a training.

    Raises:
        InputError: faulty config or seed, not one test set, two rows are the same, or a folder
            holds a run of another config.
    """
    runs = []
    for seed in dict.fromkeys(seeds):
        if seed < 0:
            raise InputError(f"seed {seed} would be another in every run; expected 0 or more")
        for row in rows:
            words = [*opts, *row.opts, "SEED", str(seed)]
            cfg = load_config(config_file, words)
            folder = Path(output_dir) / row.name / f"seed{seed}"
            commands = _make_commands(config_file, words, cfg, folder, tools, num_gpus)
            runs.append(Run(row, seed, cfg, folder, commands))
    _check_rows(runs)
    for run in runs:
        _check_folder(run)
    return runs


def execute(run: Run) -> None:
    """Train and evaluate, in processes of their own, from where an earlier call was interrupted.

    Raises:
        RunFailure: a command failed; the message has its last words.
    """
    asked, log = run.folder / REQUESTED_FILE, run.folder / LOG_FILE
    if not asked.exists():
        with replace_file(asked) as file:
            file.write(run.cfg.dump().encode())
    for command in run.commands:
        with log.open("ab") as file:
            done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT)
        if done.returncode:
            last = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
            name = Path(command[1]).name
            raise RunFailure(f"{name} ended with status {done.returncode}: {last} (see {log})")


def _make_commands(
    config_file: str, words: list[str], cfg: CfgNode, folder: Path, tools: Path, num_gpus: int
) -> list[list[str]]:
    if len(cfg.DATASETS.TEST) != 1:
        raise InputError(
            f"DATASETS.TEST is {cfg.DATASETS.TEST}; expected one dataset, which the table is of"
        )
    train = ["train_net.py", "--config-file", config_file, "--num-gpus", str(num_gpus), "--resume"]
    # evaluated once, with annotated boxes, by the second command
    train += [*words, "DATASETS.TEST", "()", "OUTPUT_DIR", str(folder)]
    evaluate = ["eval_search.py", "--config-file", config_file, "--dataset", cfg.DATASETS.TEST[0]]
    evaluate += ["--weights", str(folder / "model_final.pth"), "--output-dir", str(folder / "eval")]
    evaluate += ["--gt-boxes", *words]
    return [[sys.executable, str(tools / name), *rest] for name, *rest in (train, evaluate)]


def _check_rows(runs: Sequence[Run]) -> None:
    seen: dict[str, Run] = {}
    for run in runs:
        first = seen.setdefault(run.cfg.dump(), run)
        if first is not run:
            raise InputError(
                f"rows {first.row.name!r} and {run.row.name!r} are the same model under this "
                f"config; expected one of them: name the rows"
            )


def _check_folder(run: Run) -> None:
    """Make sure that what is there came from the config that is asked for now."""
    asked = run.folder / REQUESTED_FILE
    if not asked.exists():
        if (run.folder / "last_checkpoint").exists():
            raise InputError(
                f"{run.folder}: holds a checkpoint but no {REQUESTED_FILE} that tells its config; "
                "expected an empty folder or an interrupted run of this command"
            )
        return
    before = _flatten(yaml.safe_load(asked.read_text(encoding="utf-8")))
    now = _flatten(yaml.safe_load(run.cfg.dump()))
    # a key that only one of them has came or went with the code, not with a wish
    for key in sorted(before.keys() & now.keys() - _WHERE):
        if before[key] != now[key]:
            raise InputError(
                f"{run.folder}: is of another config: {key} was {before[key]}, now it is "
                f"{now[key]}; expected the same, or another output folder"
            )


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"A": {"B": 1}} to {"A.B": 1}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= (
            _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat
