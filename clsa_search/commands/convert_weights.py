"""Turn pretrained ResNets of others into a checkpoint that fills the backbones of a model.

    python tools/convert_weights.py resnet50.pth output/pretrained.pth
    python tools/convert_weights.py resnet50.pth output/pretrained.pth --reid reid_resnet50.pth.tar

Reads torchvision's names, Detectron2's and Caffe2's (.pkl), and those of re-ID codes behind any
prefix; no code of a file is run. Says what was loaded and what was not, and the config keys that
the weights depend on.
"""

import argparse
import shlex

from tabulate import tabulate

from clsa_search.checkpoint.conversion import (
    FilledBackbone,
    convert_weights,
    needed_keys,
    save_weights,
)
from clsa_search.checkpoint.resnet_reader import CONVENTIONS
from clsa_search.engine import load_config
from clsa_search.errors import reported_input_errors

CONFIG = "configs/Base-CLSA-R50-FPN-ImageNet.yaml"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="checkpoint with a ResNet for both backbones")
    parser.add_argument("output", help="checkpoint to write (.pth), for MODEL.WEIGHTS")
    parser.add_argument("--reid", metavar="SOURCE", help="another for the re-ID branch's backbone")
    parser.add_argument("--config-file", default=CONFIG, help=f"of the model; default {CONFIG}")
    for option, source in (("--convention", "source"), ("--reid-convention", "--reid")):
        parser.add_argument(
            option,
            choices=[*CONVENTIONS, "config"],
            help=f"channel order, pixel statistics and stride that {source} was trained with; by "
            "default what is usual for its names",
        )
    parser.add_argument("--partial", action="store_true", help="take what fits, leave the rest")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="pairs for the config")
    return parser.parse_intermixed_args(argv)


def describe(filled: list[FilledBackbone]) -> str:
    rows = [
        [
            f"{backbone.backbone}.*",
            backbone.path,
            backbone.convention,
            f"{len(backbone.tensors)} / {backbone.expected}",
            len(backbone.missing),
            len(backbone.other_shape),
            len(backbone.left_over),
            "adapted" if backbone.adapted else "as it was",
        ]
        for backbone in filled
    ]
    headers = ["backbone", "source", "convention", "loaded", "missing", "other shape", "left over"]
    lines = [tabulate(rows, headers=[*headers, "first convolution"])]
    for backbone in filled:
        for what in ("missing", "other_shape", "left_over"):
            if names := getattr(backbone, what):
                more = f" and {len(names) - 8} more" if len(names) > 8 else ""
                what = what.replace("_", " ")
                lines.append(f"{backbone.backbone}, {what}: {', '.join(names[:8])}{more}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with reported_input_errors():
        cfg = load_config(args.config_file, args.opts)
        filled = convert_weights(
            cfg,
            args.source,
            reid_source=args.reid,
            convention=args.convention,
            reid_convention=args.reid_convention,
            partial=args.partial,
        )
        save_weights(filled, args.output)
    print(describe(filled))
    needed = [word for pair in needed_keys(cfg, filled).items() for word in map(str, pair)]
    print(f"\nThe weights depend on: {shlex.join(needed)}")
    print(f"Train from them with: {shlex.join(['MODEL.WEIGHTS', args.output, *args.opts])}")
