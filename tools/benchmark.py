#!/usr/bin/env python
"""Measure this project's own speed on this machine, each figure beside the limit it has there.

tools/benchmark.py inference --config-file configs/clsa_crop_R50_cuhk_sysu.yaml
    the model at the field's test size: detector, re-ID branch and whole, plain and tuned

tools/benchmark.py training --config-file configs/clsa_crop_R50_cuhk_sysu.yaml
    a training step in each precision, and the loader apart from the model

tools/benchmark.py evaluation
    the search metrics, on generated predictions of the size of CUHK-SYSU (six galleries) and PRW

tools/benchmark.py index --config-file configs/clsa_crop_R50_cuhk_sysu.yaml
    pictures and a video into a gallery: reading, the model, storing

tools/benchmark.py query
    a gallery of random embeddings: filling, opening and searching it

tools/benchmark.py growth --of gallery
    how the cost of a gallery grows with its size, and the law beyond what was measured

tools/benchmark.py growth --of processes --config-file configs/clsa_crop_R50_cuhk_sysu.yaml
    training and extraction by 1, 2, ... processes, beside as many times what one does

Prints a Markdown table, whose limits are what the machine's measured rate of products, or its
measured bandwidth, leaves of the arithmetic or the traffic that is counted. Uses a GPU where there
is one.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is not installed

import torch
from detectron2.config import CfgNode

from benchmarks.speed import evaluation, query
from benchmarks.speed.growth import measure_sizes, plot_growth
from benchmarks.speed.indexing import measure_index
from benchmarks.speed.inference import measure_inference
from benchmarks.speed.inputs import CAMERA_SIZE, FIELD_SIZE
from benchmarks.speed.machine import describe_machine, measure_machine
from benchmarks.speed.measurement import Measurement, format_rows, to_row
from benchmarks.speed.model_growth import (
    HEIGHTS,
    IDENTITIES,
    PEOPLE,
    measure_identities,
    measure_people,
    measure_pictures,
)
from benchmarks.speed.processes import count_places, measure_processes
from benchmarks.speed.timing import double_up_to
from benchmarks.speed.training import BRANCHES, measure_training
from clsa_search.engine import load_config
from clsa_search.engine.precision import DTYPES
from clsa_search.errors import reported_input_errors
from clsa_search.evaluation.summary import save_json
from clsa_search.retrieval.indexer import IndexOptions

POSITIVE = (
    *("repeat", "scale", "widths", "detections", "queries", "sizes", "until"),
    *("size", "people", "batch_sizes", "batch", "pictures", "threads"),
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    subjects = parser.add_subparsers(dest="subject", required=True)
    inferring = subjects.add_parser("inference", help="the model: its parts, plain and tuned")
    inferring.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4], metavar="N")
    inferring.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=["float32"])
    training = subjects.add_parser("training", help="a training step, and the loader beside it")
    training.add_argument("--branches", nargs="+", choices=list(BRANCHES), default=list(BRANCHES))
    training.add_argument(
        "--dtypes", nargs="+", choices=list(DTYPES), default=["float32", "bfloat16"]
    )
    evaluating = subjects.add_parser("evaluation", help="the search metrics")
    evaluating.add_argument("--widths", type=int, nargs="+", default=[256, 1536], metavar="D")
    evaluating.add_argument("--benchmarks", nargs="+", choices=list(evaluation.SIZES))
    evaluating.add_argument("--scale", type=float, default=1, help="share of the real size")
    indexing = subjects.add_parser("index", help="photographs and a video into a gallery")
    indexing.add_argument("--pictures", type=int, default=16, help="and seconds of video")
    indexing.add_argument("--threads", type=int, default=IndexOptions.threads, help="that read")
    querying = subjects.add_parser("query", help="a gallery: filling, opening and searching it")
    querying.add_argument(
        "--detections", type=int, default=200_000, help="detections in the gallery"
    )
    growing = subjects.add_parser("growth", help="how cost grows with a size")
    growing.add_argument("--of", choices=list(GROWTHS), required=True, help="what grows")
    growing.add_argument("--sizes", type=int, nargs="+", metavar="N", help="where to measure")
    growing.add_argument("--plot", type=Path, help="draw seconds over size here")
    growing.add_argument("--until", type=int, metavar="N", help="where to extrapolate to")
    for subject in (training, growing):
        subject.add_argument("--batch", type=int, default=4, help="pictures of a process")
    for subject in (inferring, training, indexing, growing):
        size = CAMERA_SIZE if subject is indexing else FIELD_SIZE
        subject.add_argument("--config-file", help="of the model, whose weights are random")
        subject.add_argument("--size", type=int, nargs=2, default=size, metavar=("H", "W"))
        subject.add_argument("--people", type=int, default=8, help="of each picture (default 8)")
        subject.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE")
    for subject in (querying, growing):
        subject.add_argument("--widths", type=int, nargs="+", default=[768], metavar="D")
        subject.add_argument("--queries", type=int, default=64, help="of a batch")
        subject.add_argument("--half", action="store_true", help="hold embeddings in float16")
    for subject in (indexing, querying, growing):
        subject.add_argument("--folder", type=Path, help="on the disk to measure; else temporary")
    for subject in subjects.choices.values():
        subject.add_argument("--repeat", type=int, default=5, help="times that are measured")
        subject.add_argument("--device", help="cpu or cuda; by default a GPU if there is one")
        subject.add_argument("--json", type=Path, help="write the numbers here")
    args = parser.parse_args(argv)
    check_args(parser, args)
    args.device = torch.device(args.device)
    if hasattr(args, "size"):
        args.size = tuple(args.size)
    return args


def check_args(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    for name in POSITIVE:
        value = getattr(args, name, None)
        value = min(value) if isinstance(value, list | tuple) else value
        if value is not None and not 0 < value < float("inf"):
            parser.error(f"--{name.replace('_', '-')}: {value}; expected more than 0")
    sizes = getattr(args, "sizes", None)
    if sizes and args.of != "processes" and len(set(sizes)) < 3:
        shown = " ".join(map(str, sizes))
        parser.error(f"--sizes: {shown}; expected three different ones or more, to see a law")
    if (folder := getattr(args, "folder", None)) and not folder.is_dir():
        parser.error(f"--folder: {folder} is not there; expected a folder that is")
    if args.json and args.json.is_dir():
        parser.error(f"--json: {args.json} is a folder; expected a file to write")
    args.device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=args.device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        parser.error(f"--device: {args.device}: {reason}; expected one that is here")


def load_model_config(args: argparse.Namespace) -> CfgNode:
    return load_config(args.config_file, args.opts)


def pick(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Keyword arguments by the names of their options; device and repeat always."""
    return {name: getattr(args, name) for name in ("device", "repeat", *names)}


def measure_model(args: argparse.Namespace) -> Iterator[Measurement]:
    options = pick(args, "size", "people", "batch_sizes", "dtypes")
    yield from measure_inference(load_model_config(args), **options)


def measure_steps(args: argparse.Namespace) -> Iterator[Measurement]:
    options = pick(args, "branches", "dtypes", "batch", "size", "people")
    yield from measure_training(load_model_config(args), **options)


def measure_indexing(args: argparse.Namespace) -> Iterator[Measurement]:
    options = pick(args, "size", "people", "pictures", "threads")
    yield from measure_index(load_model_config(args), args.folder, **options)


def measure_evaluation(args: argparse.Namespace) -> Iterator[Measurement]:
    for name in args.benchmarks or evaluation.SIZES:
        for width in args.widths:
            yield from evaluation.measure_evaluation(
                name, width, device=args.device, repeat=args.repeat, scale=args.scale
            )


def measure_query(args: argparse.Namespace, detections: int | None = None) -> Iterator[Measurement]:
    for width in args.widths:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            yield from query.measure_query(
                Path(folder),
                detections=detections or args.detections,
                width=width,
                queries=args.queries,
                device=args.device,
                repeat=args.repeat,
                dtype=torch.float16 if args.half else torch.float32,
            )


def grow_gallery(args: argparse.Namespace) -> Iterator[Measurement]:
    sizes = args.sizes or (100_000, 200_000, 500_000, 1_000_000, 2_000_000)
    until = args.until or 10_000_000
    yield from measure_sizes(partial(measure_query, args), sizes, of="detections", until=until)


def grow_processes(args: argparse.Namespace) -> Iterator[Measurement]:
    counts = args.sizes or double_up_to(count_places(args.device))
    options = pick(args, "batch", "size", "people")
    yield from measure_processes(load_model_config(args), counts, **options)


def grow_people(args: argparse.Namespace) -> Iterator[Measurement]:
    options = pick(args, "size", "until")
    yield from measure_people(load_model_config(args), args.sizes or PEOPLE, **options)


def grow_pictures(args: argparse.Namespace) -> Iterator[Measurement]:
    options = pick(args, "size", "people", "until")
    yield from measure_pictures(load_model_config(args), args.sizes or HEIGHTS, **options)


def grow_identities(args: argparse.Namespace) -> Iterator[Measurement]:
    options = pick(args, "batch", "size", "people", "until")
    yield from measure_identities(load_model_config(args), args.sizes or IDENTITIES, **options)


GROWTHS = {  # and what the figures' notes call it
    "people": (grow_people, "people"),
    "pictures": (grow_pictures, "pixels"),
    "identities": (grow_identities, "identities"),
    "gallery": (grow_gallery, "detections"),
    "processes": (grow_processes, "processes"),
}
SUBJECTS = {
    "inference": measure_model,
    "training": measure_steps,
    "index": measure_indexing,
    "evaluation": measure_evaluation,
    "query": measure_query,
    "growth": lambda args: GROWTHS[args.of][0](args),
}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    description = describe_machine(args.device)
    print(", ".join(f"{key} {value}" for key, value in description.items()), flush=True)
    machine = measure_machine(args.device)
    rows = []
    with reported_input_errors():
        for figure in SUBJECTS[args.subject](args):
            rows.append(to_row(figure, machine))
            print(f"{figure.name}: {figure.seconds:.4g} s / {figure.unit}", flush=True)
        if getattr(args, "plot", None):
            plot_growth(rows, GROWTHS[args.of][1], args.plot)
        if args.json:
            limits = {"flops": machine.flops, "bandwidth": machine.bandwidth}
            save_json(args.json, {"machine": {**description, **limits}, args.subject: rows})
    limits = [f"{rate / 1e9:,.0f} GFLOP/s in {name}" for name, rate in machine.flops.items()]
    print("\n" + ", ".join([*limits, f"memory {machine.bandwidth / 1e9:,.1f} GB/s"]) + "\n")
    print(format_rows(rows))


if __name__ == "__main__":
    main()
