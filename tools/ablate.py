#!/usr/bin/env python
"""Train and evaluate variants of a config over seeds, and write one table.

tools/ablate.py --config-file ... --output-dir output/ablation
tools/ablate.py --config-file ... --grid full --seeds 1 2 --output-dir output/ablation
tools/ablate.py --config-file ... --variants alignment t1 --output-dir ... SOLVER.MAX_ITER 600

Each run has its own processes and its own log, OUTPUT_DIR/<variant>/seed<s>/output.log: a failed
run does not end the others. The same command skips finished runs, resumes interrupted runs, and
writes ablation.json, ablation.md and scale_ratio.png. KEY VALUE pairs apply to all runs; changes of
a variant take precedence. --detector-weights starts all runs from the detector of one checkpoint,
with random re-ID weights.
"""

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is not installed

from benchmarks.ablation.variants import GRIDS, VARIANTS, Variant, select_variants
from clsa_search.errors import reported_input_errors

if TYPE_CHECKING:
    from benchmarks.ablation.run_metrics import RunMetrics
    from benchmarks.ablation.runs import Run


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", required=True, help="config that the variants change")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--grid", choices=GRIDS, default="main", help="group of variants")
    chosen.add_argument(
        "--variants", nargs="+", metavar="NAME", help=f"some of {', '.join(VARIANTS)}"
    )
    add("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="S", help="default 1 2 3")
    add("--output-dir", type=Path, required=True, help="folder of all runs and the table")
    add("--detector-weights", metavar="FILE", help="checkpoint with the detector of all runs")
    add("--num-gpus", type=int, default=1, help="GPUs per training")
    add("--dry-run", action="store_true", help="print the commands of the unfinished runs")
    add("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs of all runs")
    return parser.parse_args(argv)


def plan(args: argparse.Namespace, variants: list[Variant]) -> "list[Run]":
    """Plan the runs and write the shared detector weights."""
    from benchmarks.ablation.detector import DETECTOR_FILE, write_detector_weights
    from benchmarks.ablation.runs import plan_runs
    from clsa_search.engine import load_config

    opts = list(args.opts)
    if args.detector_weights:
        target = args.output_dir / DETECTOR_FILE
        if not args.dry_run:
            cfg = load_config(args.config_file, opts)
            write_detector_weights(cfg, args.detector_weights, target)
        opts += ["MODEL.WEIGHTS", str(target)]
    return plan_runs(
        variants,
        args.seeds,
        config_file=args.config_file,
        opts=opts,
        output_dir=args.output_dir,
        tools=Path(__file__).parent,
        num_gpus=args.num_gpus,
    )


def print_commands(runs: "list[Run]") -> None:
    """Print the commands of the unfinished runs."""
    for run in runs:
        if run.is_finished:
            print(f"# {run.variant.name}, seed {run.seed}: finished")
        else:
            print(f"# {run.variant.name}, seed {run.seed}")
            print(*map(shlex.join, run.commands), sep="\n")


def describe(args: argparse.Namespace) -> dict[str, str]:
    """Return a description of the runs for the head of the table."""
    about = {"config": args.config_file, "options": shlex.join(args.opts) or "none"}
    return about | ({"detector": args.detector_weights} if args.detector_weights else {})


def run_all(runs: "list[Run]", metrics: "dict[str, dict[int, RunMetrics]]") -> int:
    """Execute the unfinished runs, add the metrics of all, and return the number of failures."""
    from benchmarks.ablation.run_metrics import evaluate_run
    from benchmarks.ablation.runs import RunFailure, execute

    failures = 0
    for number, run in enumerate(runs, start=1):
        start, done = time.monotonic(), run.is_finished
        try:
            if not done:
                execute(run)
        except RunFailure as failure:
            failures += 1
            outcome = f"FAILED: {failure}"
        else:
            reid = run.cfg.MODEL.REID
            result = evaluate_run(
                run.eval_dir, run.cfg.DATASETS.TEST[0], reid.LEVELS, reid.HEAD.EMBED_DIM
            )
            metrics.setdefault(run.variant.name, {})[run.seed] = result
            spent = "finished before" if done else f"{time.monotonic() - start:.0f} s"
            outcome = f"mAP {result['search']['mAP']:.2f}, {spent}"
        print(f"[{number}/{len(runs)}] {run.variant.name}, seed {run.seed}: {outcome}", flush=True)
    return failures


@reported_input_errors()
def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(argv)
    with reported_input_errors():
        variants = select_variants(args.variants or GRIDS[args.grid])
        runs = plan(args, variants)
        if args.dry_run:
            print_commands(runs)
            return
        metrics: dict[str, dict[int, RunMetrics]] = {}
        try:
            failures = run_all(runs, metrics)
        finally:  # an interrupted grid has a table too
            if metrics:
                from benchmarks.ablation.summary import summarize
                from benchmarks.ablation.table import write_tables

                write_tables(args.output_dir, summarize(variants, metrics), describe(args))
                print(f"table: {args.output_dir / 'ablation.md'}")
        if failures:
            runs_failed = f"{failures} of {len(runs)} {'runs' if len(runs) > 1 else 'run'} failed"
            raise SystemExit(f"{runs_failed}; repeat the command to resume")


if __name__ == "__main__":
    main()
