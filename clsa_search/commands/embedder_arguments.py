"""Arguments for what the file of a public re-ID network does not say."""

import argparse

from clsa_search.checkpoint.presets import EMBEDDERS, EmbedderOptions
from clsa_search.commands.argument_types import whole_number


def add_embedder_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `read_embedder_options` reads."""
    group = parser.add_argument_group(
        "re-ID network with --detector", "what its file does not say; presets fix most of it"
    )
    add = group.add_argument
    names = ", ".join(EMBEDDERS)
    add("--reid-preset", metavar="NAME", choices=EMBEDDERS, help=f"project of the network: {names}")
    add(
        "--crop-size",
        nargs=2,
        type=whole_number(1),
        metavar=("HEIGHT", "WIDTH"),
        help="size of the crops in pixels",
    )
    add("--last-stride", type=int, choices=(1, 2), help="stride of the ResNet's last stage")
    add("--before-neck", action="store_true", help="take the embedding before the neck")
    add(
        "--reid-drop",
        action="append",
        default=[],
        metavar="PREFIX",
        help="leave out the tensors whose names begin so; may be repeated",
    )


def read_embedder_options(args: argparse.Namespace) -> EmbedderOptions:
    """Return the choices of parsed arguments."""
    return EmbedderOptions(
        preset=args.reid_preset,
        crop_size=args.crop_size and tuple(args.crop_size),
        last_stride=args.last_stride,
        before_neck=args.before_neck,
        drop=tuple(args.reid_drop),
    )
