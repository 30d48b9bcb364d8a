#!/usr/bin/env python
"""Measure the speed of this project on this machine, beside the limits of the machine.

tools/benchmark.py inference --config-file clsa_crop_R50_cuhk_sysu
    detector, re-ID branch and whole model, plain and optimized

tools/benchmark.py training --config-file clsa_crop_R50_cuhk_sysu
    a training step per branch and precision, and the loader without the model

tools/benchmark.py evaluation
    the search metrics, on random predictions of the size of CUHK-SYSU (six galleries) and PRW

tools/benchmark.py index --config-file clsa_crop_R50_cuhk_sysu
    indexing of images and a video: reading, model, storing

tools/benchmark.py query
    a gallery of random embeddings: adding, opening and searching

Prints a Markdown table. The limit of a measurement is the larger of arithmetic / rate and
traffic / bandwidth; rate and bandwidth are measured on this machine, arithmetic and traffic are
counted. Uses a GPU if there is one.
"""

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is not installed

from benchmarks.speed import settings
from clsa_search.errors import reported_input_errors

if TYPE_CHECKING:
    import torch
    from detectron2.config import CfgNode

    from benchmarks.speed.measurement import Measurement

POSITIVE = (
    *("repeat", "scale", "widths", "detections", "queries"),
    *("size", "boxes", "batch_sizes", "batch", "images", "threads", "rate"),
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    subjects = parser.add_subparsers(dest="subject", required=True)
    add_subjects(subjects)
    add_common_options(subjects.choices)
    args = parser.parse_args(argv)
    check_args(parser, args)
    return args


def add_subjects(subjects: Any) -> None:
    """Add the subcommands with their own options."""
    inference = subjects.add_parser("inference", help="parts of the model, plain and optimized")
    inference.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4], metavar="N")
    inference.add_argument("--dtypes", nargs="+", choices=settings.DTYPES, default=["float32"])
    training = subjects.add_parser("training", help="a training step, and the loader")
    training.add_argument(
        "--branches", nargs="+", choices=list(settings.BRANCHES), default=list(settings.BRANCHES)
    )
    training.add_argument(
        "--dtypes", nargs="+", choices=settings.DTYPES, default=["float32", "bfloat16"]
    )
    training.add_argument("--batch", type=int, default=4, help="images per step")
    evaluation = subjects.add_parser("evaluation", help="the search metrics")
    evaluation.add_argument("--widths", type=int, nargs="+", default=[256, 1536], metavar="D")
    evaluation.add_argument("--benchmarks", nargs="+", choices=list(settings.DATASET_SIZES))
    evaluation.add_argument("--scale", type=float, default=1, help="share of the dataset's size")
    index = subjects.add_parser("index", help="indexing of images and a video")
    index.add_argument("--images", type=int, default=16, help="images, and frames of the video")
    index.add_argument("--rate", type=float, default=1, help="indexed frames per second of video")
    index.add_argument(
        "--threads", type=int, default=min(8, os.cpu_count() or 1), help="reading threads"
    )
    query = subjects.add_parser("query", help="a gallery: adding, opening and searching")
    query.add_argument("--detections", type=int, default=200_000, help="in the gallery")
    query.add_argument("--widths", type=int, nargs="+", default=[768], metavar="D")
    query.add_argument("--queries", type=int, default=64, help="queries per batch")
    query.add_argument("--half", action="store_true", help="hold embeddings in float16")


def add_common_options(subjects: dict[str, argparse.ArgumentParser]) -> None:
    """Add the options of several subcommands."""
    for name in ("inference", "training", "index"):
        subject = subjects[name]
        size = settings.CAMERA_SIZE if name == "index" else settings.FIELD_SIZE
        subject.add_argument("--config-file", help="config of the model; its weights are random")
        subject.add_argument("--size", type=int, nargs=2, default=size, metavar=("H", "W"))
        subject.add_argument("--boxes", type=int, default=8, help="boxes per image, default 8")
        subject.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE")
    for name in ("index", "query"):
        subjects[name].add_argument("--folder", type=Path, help="on the measured disk")
    for subject in subjects.values():
        subject.add_argument("--repeat", type=int, default=5, help="number of timed calls")
        subject.add_argument("--device", help="cpu or cuda; default a GPU if there is one")
        subject.add_argument("--json", type=Path, help="output file for the numbers")


def check_args(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Check all arguments that need no heavy import."""
    for name in POSITIVE:
        value = getattr(args, name, None)
        value = min(value) if isinstance(value, list | tuple) else value
        if value is not None and not 0 < value < float("inf"):
            parser.error(f"--{name.replace('_', '-')}: {value}; expected more than 0")
    if (folder := getattr(args, "folder", None)) and not folder.is_dir():
        parser.error(f"--folder: {folder} does not exist; expected an existing folder")
    if args.json and args.json.is_dir():
        parser.error(f"--json: {args.json} is a folder; expected a file to write")
    if args.device and not re.fullmatch(r"cpu|cuda(:\d+)?", args.device):
        parser.error(f"--device: {args.device}; expected cpu or cuda")
    if hasattr(args, "size"):
        args.size = tuple(args.size)


def find_device(name: str | None) -> "torch.device":
    """Return the named device, or a GPU if there is one."""
    import torch

    from clsa_search.errors import InputError

    device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--device: {name}: {reason}; expected an available device") from error
    return device


def load_model_config(args: argparse.Namespace) -> "CfgNode":
    """Load the config of the command line."""
    from clsa_search.engine import load_config

    return load_config(args.config_file, args.opts)


def pick(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return keyword arguments by option name; device and repeat always."""
    return {name: getattr(args, name) for name in ("device", "repeat", *names)}


def measure_model(args: argparse.Namespace) -> "Iterator[Measurement]":
    """Measure inference."""
    from benchmarks.speed.inference import measure_inference

    options = pick(args, "size", "boxes", "batch_sizes", "dtypes")
    yield from measure_inference(load_model_config(args), **options)


def measure_steps(args: argparse.Namespace) -> "Iterator[Measurement]":
    """Measure training steps and the loader."""
    from benchmarks.speed.training import measure_training

    options = pick(args, "branches", "dtypes", "batch", "size", "boxes")
    yield from measure_training(load_model_config(args), **options)


def measure_index(args: argparse.Namespace) -> "Iterator[Measurement]":
    """Measure indexing."""
    from benchmarks.speed.indexing import measure_indexing

    options = pick(args, "size", "boxes", "images", "threads", "rate")
    yield from measure_indexing(load_model_config(args), args.folder, **options)


def measure_metrics(args: argparse.Namespace) -> "Iterator[Measurement]":
    """Measure the search metrics."""
    from benchmarks.speed.evaluation import measure_evaluation

    for name in args.benchmarks or settings.DATASET_SIZES:
        for width in args.widths:
            yield from measure_evaluation(name, width, scale=args.scale, **pick(args))


def measure_gallery(args: argparse.Namespace) -> "Iterator[Measurement]":
    """Measure adding, opening and searching."""
    import torch

    from benchmarks.speed.query import measure_query

    for width in args.widths:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            yield from measure_query(
                Path(folder),
                detections=args.detections,
                width=width,
                queries=args.queries,
                dtype=torch.float16 if args.half else torch.float32,
                **pick(args),
            )


Measure = Callable[[argparse.Namespace], "Iterator[Measurement]"]
SUBJECTS: dict[str, Measure] = {
    "inference": measure_model,
    "training": measure_steps,
    "index": measure_index,
    "evaluation": measure_metrics,
    "query": measure_gallery,
}


@reported_input_errors()
def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(argv)
    with reported_input_errors():
        args.device = find_device(args.device)
        run(args)


def run(args: argparse.Namespace) -> None:
    """Measure, print the table and write the files."""
    from benchmarks.speed.machine import describe_machine, measure_machine
    from benchmarks.speed.measurement import format_rows, to_row
    from clsa_search.evaluation.summary import save_json

    description = describe_machine(args.device)
    print(", ".join(f"{key} {value}" for key, value in description.items()), flush=True)
    machine = measure_machine(args.device)
    rows = []
    for measurement in SUBJECTS[args.subject](args):
        rows.append(to_row(measurement, machine))
        print(f"{measurement.name}: {measurement.seconds:.4g} s / {measurement.unit}", flush=True)
        if args.json:  # after each measurement: an interrupted run keeps the ones before
            limits = {"flops": machine.flops, "bandwidth": machine.bandwidth}
            save_json(args.json, {"machine": {**description, **limits}, args.subject: rows})
    rates = [f"{rate / 1e9:,.0f} GFLOP/s in {name}" for name, rate in machine.flops.items()]
    print("\n" + ", ".join([*rates, f"memory {machine.bandwidth / 1e9:,.1f} GB/s"]) + "\n")
    print(format_rows(rows))


if __name__ == "__main__":
    main()
