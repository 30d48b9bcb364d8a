"""Convert pretrained ResNets of other projects to a checkpoint for the backbones of a model.

clsa-convert-weights resnet50.pth weights/r50_imagenet.pth
clsa-convert-weights resnet50.pth weights/r50_reid.pth --reid reid_resnet50.pth.tar

Accepted are tensors with the names of torchvision, of re-ID projects (with any prefix), and of
Detectron2 and Caffe2 (.pkl). Code in a file is never run. The command reports the loaded, missing
and unused tensors, and the config keys that the weights depend on.
"""

import argparse
import shlex
from typing import TYPE_CHECKING

from clsa_search.checkpoint.conventions import CONVENTION_NAMES
from clsa_search.commands.arguments import check_model_files
from clsa_search.errors import reported_input_errors
from clsa_search.output_checks import check_output_file

if TYPE_CHECKING:
    from clsa_search.checkpoint.conversion import ConvertedBackbone

CONFIG = "Base-CLSA-R50-FPN-ImageNet"
_SHOWN_NAMES = 8


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("source", help="checkpoint with a ResNet for both backbones")
    add("output", help="checkpoint to write (.pth), for MODEL.WEIGHTS")
    add("--reid", metavar="SOURCE", help="another checkpoint for the backbone of the re-ID branch")
    add("--config-file", default=CONFIG, help=f"path or name of the model's config ({CONFIG})")
    for option, source in (("--convention", "source"), ("--reid-convention", "--reid")):
        add(
            option,
            choices=CONVENTION_NAMES,
            help=f"channel order, pixel statistics and stride of {source}; default: the usual ones "
            "for its tensor names",
        )
    add("--partial", action="store_true", help="accept a ResNet with only some of the tensors")
    add("opts", nargs="*", metavar="KEY VALUE", help="config overrides")
    return parser.parse_intermixed_args(argv)


def format_report(converted: "list[ConvertedBackbone]") -> str:
    """Return a table with a row for each backbone, then the names of tensors without a match."""
    from tabulate import tabulate

    rows = [
        [
            f"{backbone.backbone}.*",
            backbone.path,
            backbone.convention,
            f"{len(backbone.tensors)} / {backbone.expected}",
            len(backbone.missing),
            len(backbone.wrong_shape),
            len(backbone.unused),
            "adapted" if backbone.adapted else "unchanged",
        ]
        for backbone in converted
    ]
    headers = ["backbone", "source", "convention", "loaded", "missing", "wrong shape", "unused"]
    lines = [tabulate(rows, headers=[*headers, "first convolution"])]
    for backbone in converted:
        for kind in ("missing", "wrong_shape", "unused"):
            if names := getattr(backbone, kind):
                rest = len(names) - _SHOWN_NAMES
                more = f" and {rest} more" if rest > 0 else ""
                shown = ", ".join(names[:_SHOWN_NAMES])
                lines.append(f"{backbone.backbone}, {kind.replace('_', ' ')}: {shown}{more}")
    return "\n".join(lines)


@reported_input_errors()
def main(argv: list[str] | None = None) -> None:
    """Convert the weights and print a report."""
    args = parse_args(argv)
    # wrong names show before the slow imports
    check_model_files(args.source, args.reid, config_file=args.config_file)
    check_output_file(args.output)
    from clsa_search.checkpoint.conversion import convert_weights, required_keys, save_weights
    from clsa_search.engine import load_config

    cfg = load_config(args.config_file, args.opts)
    converted = convert_weights(
        cfg,
        args.source,
        reid_source=args.reid,
        convention=args.convention,
        reid_convention=args.reid_convention,
        partial=args.partial,
    )
    save_weights(converted, args.output)
    print(format_report(converted))
    keys = [word for pair in required_keys(cfg, converted).items() for word in map(str, pair)]
    print(f"\nThe weights depend on: {shlex.join(keys)}")
    print(f"Train from them with: {shlex.join(['MODEL.WEIGHTS', args.output, *args.opts])}")
