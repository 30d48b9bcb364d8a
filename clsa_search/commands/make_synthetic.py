"""Draws a synthetic person-search dataset: street scenes with people, in the own-data format.

    python tools/make_synthetic.py --preset demo datasets/synthetic_demo

Any parameter of the preset can be changed by the option of its name. A folder that already holds
the dataset is left as it is; another dataset drawn there before is replaced.
"""

import argparse
from dataclasses import fields, replace

from clsa_search.data.synthetic import PRESETS, SyntheticSpec, make_synthetic
from clsa_search.errors import reported_input_errors


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output_dir", help="folder for train.json, gallery.json and their images")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="demo")
    parser.add_argument("--workers", type=int, help="processes; all cores by default")
    for field in fields(SyntheticSpec):
        values = ", ".join(f"{name} {getattr(PRESETS[name], field.name)}" for name in PRESETS)
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=type(field.default), help=f"preset: {values}")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Draws what the command line asks for."""
    args = parse_arguments(arguments)
    changes = {f.name: getattr(args, f.name) for f in fields(SyntheticSpec)}
    changes = {name: value for name, value in changes.items() if value is not None}
    with reported_input_errors():
        spec = replace(PRESETS[args.preset], **changes)
        drawn = make_synthetic(args.output_dir, spec, workers=args.workers)
    print(f"{args.output_dir}: " + ("drawn" if drawn else "complete already, left as it is"))
