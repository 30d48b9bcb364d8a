"""Generate a synthetic person-search dataset: street scenes in the custom JSON format.

    python tools/make_synthetic.py --preset demo datasets/synthetic_demo

An option overrides the preset's parameter of the same name. A complete dataset stays as it is; an
earlier synthetic dataset with other parameters is replaced.
"""

import argparse
from dataclasses import fields, replace

from clsa_search.commands.argument_types import whole_number
from clsa_search.data.synthetic.spec import PRESETS, SyntheticSpec
from clsa_search.errors import reported_input_errors
from clsa_search.output_checks import check_output_folder


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output_dir", help="folder of train.json, gallery.json and the images")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="demo", help="default demo")
    parser.add_argument(
        "--workers", type=whole_number(1), help="number of processes; default all cores"
    )
    for field in fields(SyntheticSpec):
        values = ", ".join(f"{name} {getattr(PRESETS[name], field.name)}" for name in PRESETS)
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=type(field.default), help=f"preset: {values}")
    return parser.parse_args(argv)


@reported_input_errors()
def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = parse_arguments(argv)
    changes = {field.name: getattr(args, field.name) for field in fields(SyntheticSpec)}
    changes = {name: value for name, value in changes.items() if value is not None}
    spec = replace(PRESETS[args.preset], **changes)
    check_output_folder(args.output_dir)
    from clsa_search.data.synthetic import make_synthetic

    generated = make_synthetic(args.output_dir, spec, workers=args.workers)
    print(f"{args.output_dir}: " + ("generated" if generated else "already complete"))
