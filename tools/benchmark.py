#!/usr/bin/env python
"""Measure this project's own speed on this machine.

tools/benchmark.py evaluation
    scores generated predictions of the size of CUHK-SYSU (six gallery sizes) and PRW, against one
    float32 product of all queries with all detections

Uses a GPU where there is one.
"""

import argparse
from pathlib import Path

import torch

from clsa_search.errors import reported_input_errors
from clsa_search.evaluation import benchmark
from clsa_search.evaluation.report import save_json


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    subjects = parser.add_subparsers(dest="subject", required=True)
    evaluation = subjects.add_parser("evaluation", help="time and memory of the search metrics")
    evaluation.add_argument("--widths", type=int, nargs="+", default=[256, 1536], metavar="D")
    evaluation.add_argument("--benchmarks", nargs="+", choices=list(benchmark.SIZES))
    evaluation.add_argument("--repeat", type=int, default=3, help="times that are measured")
    evaluation.add_argument("--scale", type=float, default=1, help="share of the real size")
    evaluation.add_argument("--device", help="cpu or cuda; by default a GPU if there is one")
    evaluation.add_argument("--json", type=Path, help="write the numbers here")
    args = parser.parse_args(argv)
    for name, value in (
        ("repeat", args.repeat),
        ("scale", args.scale),
        ("widths", min(args.widths)),
    ):
        if not 0 < value < float("inf"):
            parser.error(f"--{name}: {value}; expected more than 0")
    if args.json and args.json.is_dir():
        parser.error(f"--json: {args.json} is a folder; expected a file to write")
    args.device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=args.device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        parser.error(f"--device: {args.device}: {reason}; expected one that is here")
    return args


def measure_evaluation(args: argparse.Namespace) -> None:
    device = torch.device(args.device)
    machine = benchmark.describe_machine(device)
    print(", ".join(f"{key} {value}" for key, value in machine.items()) + "\n")
    print(
        "                 width   product   metrics   ratio    memory      CBGM   k-recip.     mAP"
    )
    rows = []
    for name in args.benchmarks or benchmark.SIZES:
        for width in args.widths:
            row = benchmark.measure_evaluation(
                name, width, device=device, repeat=args.repeat, scale=args.scale
            )
            print(
                f"{name + f' x {row.protocols}':<16}{width:>6}{row.product_seconds:>8.2f} s"
                f"{row.seconds:>8.2f} s{row.ratio:>8.1f}{row.extra_mb:>7.0f} MB"
                f"{row.cbgm_seconds:>8.2f} s{row.k_reciprocal_seconds:>9.2f} s{row.mAP:>8.2f}",
                flush=True,
            )
            rows.append(row)
    if args.json:
        save_json(args.json, {"machine": machine, "evaluation": benchmark.to_rows(rows)})


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with reported_input_errors():
        measure_evaluation(args)


if __name__ == "__main__":
    main()
