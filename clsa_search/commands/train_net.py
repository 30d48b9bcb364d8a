"""Train or evaluate a person-search model. The options are those of Detectron2's training command.

clsa-train --config-file clsa_crop_R50_prw --num-gpus 8
clsa-train --config-file clsa_crop_R50_prw --num-gpus 8 --resume
clsa-train --config-file clsa_crop_R50_prw --eval-only MODEL.WEIGHTS output/model_final.pth
torchrun --nproc_per_node 8 --no-python clsa-train --config-file clsa_crop_R50_prw
"""

import argparse
import os

from clsa_search.config_files import find_config
from clsa_search.errors import InputError, reported_input_errors


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of Detectron2's options, without importing Detectron2."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", default="", metavar="FILE", help="path or name of a packaged config")
    add("--resume", action="store_true", help="continue the run in OUTPUT_DIR, if there is one")
    add("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS on DATASETS.TEST")
    add("--num-gpus", type=int, default=1, metavar="N", help="GPUs per machine (default 1)")
    add("--num-machines", type=int, default=1, metavar="N", help="number of machines (default 1)")
    add("--machine-rank", type=int, default=0, metavar="I", help="number of this machine, from 0")
    add(
        "--dist-url",
        default=f"tcp://127.0.0.1:{_choose_port()}",
        metavar="URL",
        help="address at which the processes meet (default: a port of this user on this machine)",
    )
    add("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs for the config")
    return parser


def run(args: argparse.Namespace) -> dict | None:
    """Train or evaluate in one process.

    Returns:
        The results of the evaluation, on the main process.
    """
    from clsa_search.engine import (
        PersonSearchTrainer,
        keep_freed_memory,
        predict_test_sets,
        setup,
    )

    with reported_input_errors():
        cfg = setup(args)
        keep_freed_memory(cfg.MODEL.DEVICE)
        if args.eval_only:
            return predict_test_sets(cfg)
        trainer = PersonSearchTrainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        return trainer.train()


@reported_input_errors()
def main(argv: list[str] | None = None) -> None:
    """Parse arguments and start the processes."""
    args = build_parser().parse_args(argv)
    with reported_input_errors():
        if args.config_file:
            find_config(args.config_file)  # wrong names show before the slow imports
        weights = dict(zip(args.opts[::2], args.opts[1::2], strict=False)).get("MODEL.WEIGHTS")
        if weights and "://" not in weights and not os.path.isfile(weights):
            raise InputError(f"MODEL.WEIGHTS {weights!r} does not exist; expected a checkpoint")
        from clsa_search.engine import launch

        launch(run, args)


def _choose_port() -> int:
    """Return a port that depends on the user alone: a process left behind then blocks a second."""
    user = os.getuid() if hasattr(os, "getuid") else 1
    return 2**15 + 2**14 + user % 2**14
