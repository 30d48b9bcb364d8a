"""The output folder of a run: continued by a resumed run, set aside by a new one."""

import itertools
import logging
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.utils.events import EventWriter, get_event_storage

from clsa_search.atomic_io import replace_file
from clsa_search.checkpoint.checkpointer import RUN_CHECKPOINT
from clsa_search.json_files import parse_json

METRICS = "metrics.json"
CONFIG_FILE = "config.yaml"
"""Config of the run, beside its checkpoints; the name is Detectron2's."""

_LEFT = re.compile(
    rf"metrics\.json|events\.out\.tfevents\..*|last_checkpoint|{RUN_CHECKPOINT.pattern}"
)

_BESIDE = {CONFIG_FILE, "curves.png", "inference"}  # moved only together with files of _LEFT

logger = logging.getLogger(__name__)


def save_config(output_dir: str, cfg: CfgNode) -> None:
    """Write the config of a run beside its checkpoints."""
    with replace_file(os.path.join(output_dir, CONFIG_FILE)) as file:
        file.write(cfg.dump().encode())


@contextmanager
def kept_config(output_dir: str) -> Iterator[None]:
    """Restore config.yaml at the end: the setup may fail, or evaluate another model."""
    path = Path(output_dir, CONFIG_FILE)
    before = path.read_bytes() if path.is_file() else None
    try:
        yield
    finally:
        if before is None:
            path.unlink(missing_ok=True)
        else:
            with replace_file(path) as file:
                file.write(before)


def trim_metrics(output_dir: str, start_iter: int) -> set[int]:
    """Drop the lines of metrics.json from `start_iter` on, and lines that a kill left incomplete.

    Args:
        output_dir: folder of the run.
        start_iter: first iteration of the resumed run.

    Returns:
        The iterations of the other lines.
    """
    path = os.path.join(output_dir, METRICS)
    if not os.path.isfile(path):
        return set()
    with open(path, "rb") as file:
        lines = file.readlines()
    iterations = {line: _read_iteration(line) for line in lines if line.endswith(b"\n")}
    kept = [line for line in lines if iterations.get(line, start_iter) < start_iter]
    if kept != lines:
        with replace_file(path) as file:
            file.writelines(kept)
    return {int(iterations[line]) for line in kept}


def set_aside(output_dir: str) -> None:
    """Move the files of an earlier run, except its log, to a new folder `earlier_run_<n>`."""
    there = os.listdir(output_dir) if os.path.isdir(output_dir) else []
    names = [name for name in there if _LEFT.fullmatch(name)]
    if not names:
        return
    # the config first: a kill in between must not leave it to be overwritten
    names = [*sorted(_BESIDE.intersection(there)), *names]
    folders = (os.path.join(output_dir, f"earlier_run_{i}") for i in itertools.count(1))
    folder = next(path for path in folders if not os.path.exists(path))
    os.mkdir(folder)
    for name in names:
        os.replace(os.path.join(output_dir, name), os.path.join(folder, name))
    logger.warning(
        "%s held an earlier run; --resume would have continued it. "
        "Its config, metrics and checkpoints are in %s now",
        output_dir,
        folder,
    )


class DeferredWriters(EventWriter):
    """Writers that are opened at the first write, after the output folder is in order.

    They write iterations in ascending order. In the order of Detectron2, an evaluation comes behind
    a later iteration: a resumed run that keeps the first and repeats the second swaps them.

    Args:
        build: function that opens the writers.
    """

    def __init__(self, build: Callable[[], list[EventWriter]]) -> None:
        self._build = build
        self._writers: list[EventWriter] = []

    def write(self) -> None:
        """Write the latest metrics with every writer."""
        self._writers = self._writers or self._build()
        for writer in self._writers:
            _sort_by_iteration(get_event_storage().latest())  # a writer may add scalars
            writer.write()

    def close(self) -> None:
        """Close the writers."""
        for writer in self._writers:
            writer.close()


def _sort_by_iteration(latest: dict[str, tuple[float, int]]) -> None:
    """Sort (value, iteration) by iteration, in place."""
    ordered = sorted(latest.items(), key=lambda scalar: scalar[1][1])
    latest.clear()
    latest.update(ordered)


def _read_iteration(line: bytes) -> float:
    """Return the iteration of a line; infinity if it has none."""
    try:
        return int(parse_json(line, METRICS)["iteration"])
    except Exception:  # half-written lines have many faults
        return math.inf
