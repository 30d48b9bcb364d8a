#!/usr/bin/env python
"""Measure this project's own speed on this machine.

tools/benchmark.py evaluation
    scores generated predictions of the size of CUHK-SYSU (six gallery sizes) and PRW, against one
    float32 product of all queries with all detections

tools/benchmark.py store
    fills a gallery with random descriptors, opens it and searches it, against one float32 product
    of the queries with the same descriptors in memory and its top k

Uses a GPU where there is one.
"""

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch

from clsa_search.errors import reported_input_errors
from clsa_search.evaluation import benchmark
from clsa_search.evaluation.report import save_json
from clsa_search.measuring import describe_machine
from clsa_search.retrieval.benchmark import measure_store


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
    store = subjects.add_parser("store", help="time and memory of the gallery store")
    store.add_argument("--rows", type=int, default=200_000, help="detections in the gallery")
    store.add_argument("--widths", type=int, nargs="+", default=[768], metavar="D")
    store.add_argument("--queries", type=int, default=64, help="of a batch")
    store.add_argument("--repeat", type=int, default=5, help="times that are measured")
    store.add_argument("--folder", type=Path, help="on the disk to measure; by default temporary")
    for subject in (evaluation, store):
        subject.add_argument("--device", help="cpu or cuda; by default a GPU if there is one")
        subject.add_argument("--json", type=Path, help="write the numbers here")
    args = parser.parse_args(argv)
    check_args(parser, args)
    args.device = torch.device(args.device)
    return args


def check_args(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    for name in ("repeat", "scale", "widths", "rows", "queries"):
        value = getattr(args, name, 1)
        value = min(value) if isinstance(value, list) else value
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


def measure_evaluation(args: argparse.Namespace) -> list[dict]:
    print(
        "                 width   product   metrics   ratio    memory      CBGM   k-recip.     mAP"
    )
    rows = []
    for name in args.benchmarks or benchmark.SIZES:
        for width in args.widths:
            row = benchmark.measure_evaluation(
                name, width, device=args.device, repeat=args.repeat, scale=args.scale
            )
            print(
                f"{name + f' x {row.protocols}':<16}{width:>6}{row.product_seconds:>8.2f} s"
                f"{row.seconds:>8.2f} s{row.ratio:>8.1f}{row.extra_mb:>7.0f} MB"
                f"{row.cbgm_seconds:>8.2f} s{row.k_reciprocal_seconds:>9.2f} s{row.mAP:>8.2f}",
                flush=True,
            )
            rows.append(row)
    return benchmark.to_rows(rows)


def measure_stores(args: argparse.Namespace) -> list[dict]:
    rows = []
    for width in args.widths:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            row = measure_store(
                Path(folder),
                rows=args.rows,
                width=width,
                queries=args.queries,
                device=args.device,
                repeat=args.repeat,
            )
        rows.append(asdict(row))
        for name, value in rows[-1].items():
            number = f"{value:,}" if isinstance(value, int) else f"{value:,.3f}"
            print(f"{name.replace('_', ' '):<22}{number:>12}", flush=True)
        print()
    return rows


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    machine = describe_machine(args.device)
    print(", ".join(f"{key} {value}" for key, value in machine.items()) + "\n")
    measure = {"evaluation": measure_evaluation, "store": measure_stores}[args.subject]
    with reported_input_errors():
        rows = measure(args)
        if args.json:
            save_json(args.json, {"machine": machine, args.subject: rows})


if __name__ == "__main__":
    main()
