"""What a run leaves in its folder: gone on with where it is resumed, else put aside."""

import itertools
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.utils.events import EventWriter

from clsa_search.atomic_io import replace_file
from clsa_search.checkpoint.checkpointer import OF_A_RUN

METRICS = "metrics.json"
CONFIG_FILE = "config.yaml"
"""Of the run whose checkpoints it lies beside; Detectron2's default_setup calls it so."""

_LEFT = re.compile(rf"metrics\.json|events\.out\.tfevents\..*|last_checkpoint|{OF_A_RUN.pattern}")

_BESIDE = {CONFIG_FILE, "curves.png", "inference"}  # made by a run that left some of the above

logger = logging.getLogger(__name__)


def save_config(output_dir: str, cfg: CfgNode) -> None:
    """Put the config of a run beside its checkpoints, from which it is loaded with them."""
    with replace_file(os.path.join(output_dir, CONFIG_FILE)) as file:
        file.write(cfg.dump().encode())


@contextmanager
def kept_config(output_dir: str) -> Iterator[None]:
    """Leaves config.yaml as it is: what is set up here may fail, or evaluate another model."""
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


def trim_metrics(output_dir: str, start_iter: int) -> None:
    """Drop the lines of metrics.json that a run resumed at `start_iter` writes again.

    Lines that a kill tore are dropped too.
    """
    path = os.path.join(output_dir, METRICS)
    if not os.path.isfile(path):
        return
    with open(path, "rb") as file:
        lines = file.readlines()
    kept = [line for line in lines if line.endswith(b"\n") and _is_before(line, start_iter)]
    if kept != lines:
        with replace_file(path) as file:
            file.writelines(kept)


def set_aside(output_dir: str) -> None:
    """Move what an earlier run left, its log aside, into a folder of its own."""
    there = os.listdir(output_dir) if os.path.isdir(output_dir) else []
    names = [name for name in there if _LEFT.fullmatch(name)]
    if not names:
        return
    # first: after a kill in between, the config must not be written over
    names = [*sorted(_BESIDE.intersection(there)), *names]
    folders = (os.path.join(output_dir, f"earlier_run_{i}") for i in itertools.count(1))
    folder = next(path for path in folders if not os.path.exists(path))
    os.mkdir(folder)
    for name in names:
        os.replace(os.path.join(output_dir, name), os.path.join(folder, name))
    logger.warning(
        "%s held an earlier run, which --resume would have continued: "
        "its config, metrics and checkpoints are in %s now",
        output_dir,
        folder,
    )


class DeferredWriters(EventWriter):
    """Opens a run's writers at the first writing, when its folder has been put in order."""

    def __init__(self, build: Callable[[], list[EventWriter]]) -> None:
        self._build = build
        self._writers: list[EventWriter] = []

    def write(self) -> None:
        self._writers = self._writers or self._build()
        for writer in self._writers:
            writer.write()

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


def _is_before(line: bytes, iteration: int) -> bool:
    try:
        return json.loads(line)["iteration"] < iteration
    except (ValueError, TypeError, KeyError):
        return False
