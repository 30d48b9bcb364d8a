#!/usr/bin/env python
"""Train and evaluate variants of a config over seeds, and write one table.

tools/ablate.py --config-file ... --output-dir output/ablation
tools/ablate.py --config-file ... --grid full --seeds 1 2 --output-dir output/ablation
tools/ablate.py --config-file ... --variants alignment t1 --output-dir ... SOLVER.MAX_ITER 600
tools/ablate.py --config-file reid_small_synthetic_demo --grid crops --jobs 2 --output-dir ...
tools/ablate.py --summary --output-dir output/ablation

Each run has its own processes and its own log, OUTPUT_DIR/<variant>/seed<s>/output.log: a failed
run does not end the others. The same command skips finished runs, resumes interrupted runs, and
writes ablation.json, ablation.md and scale_ratio.png. KEY VALUE pairs apply to all runs; changes of
a variant take precedence. --detector-weights starts all runs from the detector of one checkpoint,
with random re-ID weights. --summary writes the tables of the finished runs in a folder, also while
others run.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is not installed

from benchmarks.ablation.variants import GRIDS, VARIANTS, Variant, select_variants
from clsa_search.commands.argument_types import whole_number
from clsa_search.errors import reported_input_errors

if TYPE_CHECKING:
    from benchmarks.ablation.run_metrics import RunMetrics
    from benchmarks.ablation.runs import Run

    Metrics = dict[str, dict[int, RunMetrics]]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", help="config that the variants change")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--grid", choices=GRIDS, default="main", help="group of variants")
    chosen.add_argument(
        "--variants", nargs="+", metavar="NAME", help=f"some of {', '.join(VARIANTS)}"
    )
    add("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="S", help="default 1 2 3")
    add("--output-dir", type=Path, required=True, help="folder of all runs and the table")
    add("--detector-weights", metavar="FILE", help="checkpoint with the detector of all runs")
    add("--num-gpus", type=whole_number(), default=1, metavar="N", help="GPUs per training")
    add("--jobs", type=whole_number(1), default=1, metavar="N", help="runs at a time (default 1)")
    add("--keep-weights", action="store_true", help="keep the checkpoints of crops' runs")
    add("--dry-run", action="store_true", help="print the commands of the unfinished runs")
    add("--summary", action="store_true", help="write the tables of the finished runs only")
    add("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs of all runs")
    args = parser.parse_args(argv)
    if not args.config_file and not args.summary:
        parser.error("--config-file is missing; expected the config that the variants change")
    return args


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
    if args.summary:
        return {"runs": str(args.output_dir)}
    about = {"config": args.config_file, "options": shlex.join(args.opts) or "none"}
    return about | ({"detector": args.detector_weights} if args.detector_weights else {})


def execute_unfinished(args: argparse.Namespace, runs: "list[Run]", metrics: "Metrics") -> int:
    """Execute the unfinished runs, add the metrics of all, and return the number of failures."""
    from benchmarks.ablation.runs import execute_all

    finished = [(run, None, None) for run in runs if run.is_finished]
    unfinished = [run for run in runs if not run.is_finished]
    ended = execute_all(unfinished, args.jobs, keep_weights=args.keep_weights)
    failures = 0
    for number, (run, seconds, failure) in enumerate(chain(finished, ended), start=1):
        if failure:
            failures += 1
            outcome = f"FAILED: {failure}"
        else:
            spent = "finished before" if seconds is None else f"{seconds:.0f} s"
            outcome = f"mAP {measure(run, metrics):.2f}, {spent}"
        print(f"[{number}/{len(runs)}] {run.variant.name}, seed {run.seed}: {outcome}", flush=True)
    return failures


def measure(run: "Run", metrics: "Metrics") -> float:
    """Add the metrics of a finished run, and return its mAP."""
    from benchmarks.ablation.run_metrics import evaluate_run

    reid = run.cfg.MODEL.REID
    result = evaluate_run(run.eval_dir, run.cfg.DATASETS.TEST[0], reid.LEVELS, reid.HEAD.EMBED_DIM)
    metrics.setdefault(run.variant.name, {})[run.seed] = result
    return result["search"]["mAP"]


def write_summary(
    args: argparse.Namespace, variants: Sequence[Variant], metrics: "Metrics"
) -> None:
    """Write the tables of all runs with metrics."""
    from benchmarks.ablation.summary import summarize
    from benchmarks.ablation.table import write_tables

    write_tables(args.output_dir, summarize(variants, metrics), describe(args))
    print(f"table: {args.output_dir / 'ablation.md'}")


def summarize_finished(args: argparse.Namespace) -> None:
    """Write the tables of the finished runs in the output folder."""
    from benchmarks.ablation.runs import find_finished
    from clsa_search.engine.setup import register_json_files

    metrics: Metrics = {}
    for run in find_finished(args.output_dir):
        register_json_files(run.cfg)
        measure(run, metrics)
    write_summary(args, list(VARIANTS.values()), metrics)


@reported_input_errors()
def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(argv)
    if args.summary:
        summarize_finished(args)
        return
    variants = select_variants(args.variants or GRIDS[args.grid])
    runs = plan(args, variants)
    if args.dry_run:
        print_commands(runs)
        return
    metrics: Metrics = {}
    try:
        failures = execute_unfinished(args, runs, metrics)
    finally:  # an interrupted grid has a table too
        if metrics:
            write_summary(args, variants, metrics)
    if failures:
        runs_failed = f"{failures} of {len(runs)} {'runs' if len(runs) > 1 else 'run'} failed"
        raise SystemExit(f"{runs_failed}; repeat the command to resume")


if __name__ == "__main__":
    main()
