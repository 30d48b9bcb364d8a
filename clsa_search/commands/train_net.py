"""Train or evaluate a person-search model. The options are those of Detectron2's training command.

clsa-train --config-file clsa_crop_R50_prw --num-gpus 8
clsa-train --config-file clsa_crop_R50_prw --num-gpus 8 --resume
clsa-train --config-file clsa_crop_R50_prw --eval-only MODEL.WEIGHTS output/model_final.pth
torchrun --nproc_per_node 8 --no-python clsa-train --config-file clsa_crop_R50_prw
"""

import argparse
import os
from functools import partial

from clsa_search.commands.argument_types import whole_number
from clsa_search.commands.dataset_arguments import add_dataset_options, list_config_options
from clsa_search.config_files import check_weights, describe_configs, get_value, read_config
from clsa_search.errors import InputError, reported_input_errors
from clsa_search.output_checks import check_output_folder


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of Detectron2's options, without importing Detectron2."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", default="", metavar="FILE", help="path or name of a packaged config")
    add("--resume", action="store_true", help="continue the run in OUTPUT_DIR, if there is one")
    add("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS on DATASETS.TEST")
    add(
        "--num-gpus",
        type=whole_number(),
        default=1,
        metavar="N",
        help="GPUs per machine (default 1)",
    )
    add(
        "--num-machines",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="number of machines (default 1)",
    )
    add(
        "--machine-rank",
        type=whole_number(),
        default=0,
        metavar="I",
        help="number of this machine, from 0",
    )
    add(
        "--dist-url",
        default=f"tcp://127.0.0.1:{_choose_port()}",
        metavar="URL",
        help="address at which the processes meet (default: a port of this user on this machine)",
    )
    add_dataset_options(parser)  # for the JSON files in DATASETS.TRAIN and DATASETS.TEST
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

    with reported_input_errors():  # in each process
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
    args.opts = list_config_options(args) + args.opts
    _check_config(args)  # faults show before the slow imports
    from clsa_search.engine import launch

    launch(run, args)


def _check_config(args: argparse.Namespace) -> None:
    """Check the files that the config names, and print what will run."""
    if not args.config_file:
        raise InputError(f"--config-file is missing; {describe_configs()}")
    find = partial(get_value, read_config(args.config_file), args.opts)
    weights, output = find("MODEL.WEIGHTS", ""), str(find("OUTPUT_DIR", "output"))
    check_weights(weights)
    check_output_folder(output)
    if os.environ.get("RANK", "0") != "0":  # set by torchrun
        return
    if args.eval_only:
        work = f"evaluates {weights or 'no weights'} on {find('DATASETS.TEST', ())}"
    else:
        start = f"the run in {output}, if there is one, or " if args.resume else ""
        start += str(weights or "random weights")
        work = f"trains on {find('DATASETS.TRAIN', ())}, from {start}"
    print(
        f"{args.config_file}: {work}; output: {output}", "loading PyTorch ...", sep="\n", flush=True
    )


def _choose_port() -> int:
    """Return a port that depends on the user alone: a process left behind then blocks a second."""
    user = os.getuid() if hasattr(os, "getuid") else 1
    return 2**15 + 2**14 + user % 2**14
