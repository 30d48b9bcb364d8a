"""Keys of the config, free to change in a resumed run.

A resumed run continues the same training. The length of the run may change, and everything that
decides its place, its reports and its evaluation; nothing that decides an iteration.
"""

import logging
import os
import re
from typing import Any

from detectron2.config import CfgNode

from clsa_search.config_files import read_config
from clsa_search.config_values import list_values, set_nested
from clsa_search.engine.output_dir import CONFIG_FILE
from clsa_search.errors import InputError
from clsa_search.wording import count_noun

FREE_KEYS = re.compile(
    r"SOLVER\.(EPOCHS|MAX_ITER|STEPS|CHECKPOINT_PERIOD|COMPILE)"
    r"|OUTPUT_DIR|MODEL\.(DEVICE|WEIGHTS)|DATALOADER\.NUM_WORKERS|CUDNN_BENCHMARK|VIS_PERIOD"
    r"|TEST\..*|.*[._]TEST"
)
"""Keys that may change; of SOLVER.STEPS only the steps still to come.

SOLVER.WARMUP_ITERS may change once both warm-ups are over.
"""

HOW_TO_GO_ON = (
    "expected the config of the run, or for a new training another OUTPUT_DIR, that folder moved "
    "away, or a start without --resume"
)
"""End of the message about a run that cannot be resumed."""

Changes = dict[str, tuple[Any, Any]]
"""Value of the run and value now by key."""

logger = logging.getLogger(__name__)


def find_changes(cfg: CfgNode) -> Changes:
    """Return the differences from the config of the run in OUTPUT_DIR.

    Raises:
        InputError: the config of the run cannot be read.
    """
    path = os.path.join(cfg.OUTPUT_DIR, CONFIG_FILE)
    if not os.path.isfile(path):
        logger.warning("%s does not exist: the configs cannot be compared", path)
        return {}
    ran = cfg.clone()  # with the keys of the caller
    ran.defrost()
    known: set[str] = set()
    for file, content in read_config(path):
        try:
            set_nested(ran, content)
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
        known.update(key for key, _ in list_values(CfgNode(content)))
    now = dict(list_values(cfg))
    _warn_of_new_keys(path, {key: value for key, value in now.items() if key not in known})
    values = ((key, old, now[key]) for key, old in list_values(ran))
    return {key: (old, new) for key, old, new in values if _to_lists(old) != _to_lists(new)}


def _warn_of_new_keys(path: str, new: dict[str, Any]) -> None:
    """Warn of keys that the version of the run did not have, unless their value is 0 or empty."""
    active = {key: value for key, value in new.items() if value and not FREE_KEYS.fullmatch(key)}
    if active:
        logger.warning(
            "%s lacks keys, so another version began the run: it goes on with %s",
            path,
            ", ".join(f"{key} {value!r}" for key, value in active.items()),
        )


def list_refused(changes: Changes, iterations: int) -> list[str]:
    """Return a sentence for each forbidden change of a resumed run.

    Args:
        changes: see :func:`find_changes`.
        iterations: number of iterations of the checkpoint.
    """
    refused = {key: values for key, values in changes.items() if not FREE_KEYS.fullmatch(key)}
    for key in changes.keys() & {"SOLVER.STEPS"}:
        before, now = ([n for n in steps if n < iterations] for steps in changes[key])
        if before != now:
            refused[key] = changes[key]
    warmups = refused.get("SOLVER.WARMUP_ITERS")
    if warmups and max(warmups) <= iterations:
        del refused["SOLVER.WARMUP_ITERS"]
    return [
        f"{key} is {now!r}, but {old!r} in the {CONFIG_FILE} of the run"
        for key, (old, now) in refused.items()
    ]


def check_changes(cfg: CfgNode, changes: Changes, iterations: int) -> None:
    """Check that a run may be resumed with a config, and log the changes.

    Args:
        cfg: config of the resumed run.
        changes: see :func:`find_changes`.
        iterations: number of iterations of the checkpoint.

    Raises:
        InputError: a key may not change, or the run is already longer than MAX_ITER.
    """
    if refused := list_refused(changes, iterations):
        raise InputError(
            f"{cfg.OUTPUT_DIR}: {'; '.join(refused)}; a resumed run trains as before: "
            f"{HOW_TO_GO_ON}"
        )
    if cfg.SOLVER.MAX_ITER < iterations:
        raise InputError(
            f"SOLVER.MAX_ITER is {cfg.SOLVER.MAX_ITER}, but the run in {cfg.OUTPUT_DIR} has "
            f"{count_noun(iterations, 'iteration')}; expected {iterations} or more"
        )
    for key, (old, now) in changes.items():
        logger.info("The resumed run has %s %r; it was %r", key, now, old)


def _to_lists(value: Any) -> Any:
    """Return a value with lists in place of tuples, as in YAML."""
    return [*map(_to_lists, value)] if isinstance(value, list | tuple) else value
