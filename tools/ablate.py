#!/usr/bin/env python
"""Train and evaluate the rows of an ablation over seeds, and write one table of them.

tools/ablate.py --config-file configs/... --output-dir output/ablation
tools/ablate.py --config-file configs/... --grid full --seeds 1 2 --output-dir output/ablation
tools/ablate.py --config-file configs/... --rows alignment t1 --output-dir ... SOLVER.MAX_ITER 600

Each run has processes and a log of its own, OUTPUT_DIR/<row>/seed<s>/output.log: one that fails
does not end the others. The same command skips what is finished, takes up what was interrupted, and
writes ablation.json, ablation.md and scale_ratio.png. KEY VALUE pairs hold for all runs, unless a
row changes the same key. --detector-weights starts all runs from the detector of one checkpoint,
each with a re-ID branch of random weights.
"""

import argparse
import shlex
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is not installed

from benchmarks.ablation import (
    DETECTOR_FILE,
    GRIDS,
    VARIANTS,
    Run,
    RunFailure,
    RunMetrics,
    Variant,
    evaluate_run,
    execute,
    plan_runs,
    select_variants,
    summarize,
    write_detector_weights,
    write_tables,
)
from clsa_search.engine import load_config
from clsa_search.errors import reported_input_errors


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", required=True, help="the config that the rows change")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--grid", choices=GRIDS, default="main", help="rows by a common name")
    chosen.add_argument("--rows", nargs="+", metavar="ROW", help=f"some of {', '.join(VARIANTS)}")
    add("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="S", help="by default 1 2 3")
    add("--output-dir", type=Path, required=True)
    add("--detector-weights", metavar="FILE", help="a checkpoint, the detector of which all share")
    add("--num-gpus", type=int, default=1, help="of each training")
    add("--dry-run", action="store_true", help="print the commands of what is not finished")
    add("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs for all runs")
    return parser.parse_args(argv)


def plan(args: argparse.Namespace, rows: list[Variant]) -> list[Run]:
    opts = list(args.opts)
    if args.detector_weights:
        target = args.output_dir / DETECTOR_FILE
        if not args.dry_run:
            cfg = load_config(args.config_file, opts)
            write_detector_weights(cfg, args.detector_weights, target)
        opts += ["MODEL.WEIGHTS", str(target)]
    return plan_runs(
        rows,
        args.seeds,
        config_file=args.config_file,
        opts=opts,
        output_dir=args.output_dir,
        tools=Path(__file__).parent,
        num_gpus=args.num_gpus,
    )


def print_commands(runs: list[Run]) -> None:
    for run in runs:
        if run.is_finished:
            print(f"# {run.row.name}, seed {run.seed}: finished")
        else:
            print(f"# {run.row.name}, seed {run.seed}")
            print(*map(shlex.join, run.commands), sep="\n")


def describe(args: argparse.Namespace) -> dict[str, str]:
    """What was run, for the head of the table."""
    about = {"config": args.config_file, "for all runs": shlex.join(args.opts) or "as it is"}
    return about | ({"detector": args.detector_weights} if args.detector_weights else {})


def run_all(runs: list[Run], figures: dict[str, dict[int, RunMetrics]]) -> int:
    """Do what is not done and fill in the figures; returns how many runs failed."""
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
            found = evaluate_run(
                run.eval_dir, run.cfg.DATASETS.TEST[0], reid.LEVELS, reid.HEAD.EMBED_DIM
            )
            figures.setdefault(run.row.name, {})[run.seed] = found
            spent = "finished before" if done else f"{time.monotonic() - start:.0f} s"
            outcome = f"mAP {found['search']['mAP']:.2f}, {spent}"
        print(f"[{number}/{len(runs)}] {run.row.name}, seed {run.seed}: {outcome}", flush=True)
    return failures


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with reported_input_errors():
        rows = select_variants(args.rows or GRIDS[args.grid])
        runs = plan(args, rows)
        if args.dry_run:
            print_commands(runs)
            return
        figures: dict[str, dict[int, RunMetrics]] = {}
        try:
            failures = run_all(runs, figures)
        finally:  # a grid that is interrupted has a table too
            if figures:
                write_tables(args.output_dir, summarize(rows, figures), describe(args))
                print(f"table: {args.output_dir / 'ablation.md'}")
        if failures:
            raise SystemExit(
                f"{failures} of {len(runs)} runs failed; the same command repeats them"
            )


if __name__ == "__main__":
    main()
