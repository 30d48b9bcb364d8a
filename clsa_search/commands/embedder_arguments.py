"""Arguments for what the file of a public re-ID network does not say."""

import argparse

from clsa_search.checkpoint.onnx_presets import ONNX_EMBEDDERS
from clsa_search.checkpoint.presets import EMBEDDERS, EmbedderOptions
from clsa_search.commands.argument_types import number, whole_number

EMBEDDER_OPTIONS = (
    *("reid_preset", "crop_size", "last_stride", "before_neck", "reid_drop"),
    *("reid_mean", "reid_std", "reid_format", "reid_output"),
)
"""Names of the arguments."""


def add_embedder_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `read_embedder_options` reads."""
    group = parser.add_argument_group(
        "re-ID network with --detector", "what its file does not say; presets fix most of it"
    )
    add = group.add_argument
    presets = [*EMBEDDERS, *ONNX_EMBEDDERS]
    add(
        "--reid-preset",
        metavar="NAME",
        choices=presets,
        help=f"project of the network: {', '.join(EMBEDDERS)}; of an ONNX file: "
        f"{', '.join(ONNX_EMBEDDERS)}",
    )
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
    for option, kind in (("--reid-mean", "mean"), ("--reid-std", "standard deviation")):
        add(
            option,
            nargs=3,
            type=number(0, 255),
            metavar=("C1", "C2", "C3"),
            help=f"{kind} of each channel, for pixels of 0 to 255",
        )
    add("--reid-format", choices=("RGB", "BGR"), help="order of the channels")
    add("--reid-output", default="", metavar="NAME", help="ONNX file: output of the embeddings")


def read_embedder_options(args: argparse.Namespace) -> EmbedderOptions:
    """Return the choices of parsed arguments."""
    return EmbedderOptions(
        preset=args.reid_preset,
        crop_size=args.crop_size and tuple(args.crop_size),
        last_stride=args.last_stride,
        before_neck=args.before_neck,
        drop=tuple(args.reid_drop),
        mean=args.reid_mean,
        std=args.reid_std,
        format=args.reid_format,
        output=args.reid_output,
    )
