"""Train or evaluate a person-search model; the interface is Detectron2's.

tools/train_net.py --config-file configs/clsa_crop_R50_synthetic.yaml --num-gpus 8
torchrun --nproc_per_node 8 tools/train_net.py --config-file ...
tools/train_net.py --config-file ... --resume
tools/train_net.py --config-file ... --eval-only MODEL.WEIGHTS output/model_final.pth
"""

import argparse

from detectron2.engine import default_argument_parser

from clsa_search.engine import (
    PersonSearchTrainer,
    keep_freed_memory,
    launch,
    predict_test_sets,
    setup,
)
from clsa_search.errors import reported_input_errors


def run(args: argparse.Namespace) -> dict | None:
    """Train or evaluate in one process."""
    with reported_input_errors():
        cfg = setup(args)
        keep_freed_memory(cfg.MODEL.DEVICE)
        if args.eval_only:
            return predict_test_sets(cfg)
        trainer = PersonSearchTrainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        return trainer.train()


def main(argv: list[str] | None = None) -> None:
    """Parse arguments and start the processes."""
    with reported_input_errors():
        launch(run, default_argument_parser(epilog=__doc__).parse_args(argv))
