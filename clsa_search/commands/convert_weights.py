"""Convert public weights: to a model that searches, or to backbones to train from.

clsa-convert-weights --detector model_final_280758.pkl --reid market_bot_R50.pth weights/street.pth
clsa-convert-weights --search epoch_19.pth weights/seqnet.pth
clsa-convert-weights resnet50.pth weights/r50_imagenet.pth
clsa-convert-weights resnet50.pth weights/r50_reid.pth --reid reid_resnet50.pth.tar
clsa-convert-weights --config-file clsa_strong_R50_prw --detector model_final_280758.pkl
  --reid resnet50-11ad3fa6.pth weights/strong_R50.pth

--detector joins a public detector (Faster R-CNN of Detectron2's model zoo or of torchvision) and a
public re-ID network. --search takes SeqNet or NAE, which do both. Each writes a config beside the
weights, such as weights/street.yaml, and `clsa-search index --weights weights/street.pth` works at
once. docs/weights.md lists all files. With --config-file, --detector gives weights to train that
config from: the complete detector, and the backbone of the re-ID branch from --reid.

The other forms give backbones to train from. Accepted are ResNets with the names of torchvision,
of re-ID projects (with any prefix), and of Detectron2 and Caffe2 (.pkl); ConvNeXt and Swin of
torchvision, timm, their papers and SOLIDER; PLIP; and with MODEL.TIMM the networks of timm. The
command reports the loaded, missing and unused tensors, and the config keys that the weights depend
on. Code in a file is never run.
"""

import argparse
import os
import shlex
from typing import TYPE_CHECKING

from clsa_search.checkpoint.conventions import CONVENTION_NAMES
from clsa_search.commands.argument_types import whole_number
from clsa_search.commands.arguments import check_model_files
from clsa_search.commands.embedder_arguments import (
    EMBEDDER_OPTIONS,
    add_embedder_arguments,
    read_embedder_options,
)
from clsa_search.errors import InputError, reported_input_errors
from clsa_search.output_checks import check_output_file
from clsa_search.wording import count_noun

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clsa_search.checkpoint.conversion import ConvertedBackbone
    from clsa_search.checkpoint.public_weights import PublicWeights

CONFIG = "Base-CLSA-R50-FPN-ImageNet"
_SHOWN_NAMES = 8
_NEEDS_REID = (
    "add --reid with a public re-ID network, such as market_bot_R50.pth of fast-reid "
    "(github.com/JDAI-CV/fast-reid, MODEL_ZOO.md) or resnet50 of torchreid "
    "(kaiyangzhou.github.io/deep-person-reid, Model Zoo)"
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("source", nargs="?", help="checkpoint with a network for both backbones")
    add("output", help="checkpoint to write (.pth)")
    add("--detector", metavar="SOURCE", help="complete detector; needs --reid")
    add(
        "--person-class",
        type=whole_number(0),
        metavar="N",
        help="number of the person among the classes of --detector; known for COCO and LVIS",
    )
    add("--search", metavar="SOURCE", help="checkpoint of SeqNet or NAE")
    add("--reid", metavar="SOURCE", help="re-ID network of --detector, or of the re-ID backbone")
    add("--config-file", help=f"path or name of the model's config ({CONFIG})")
    for option, source in (("--convention", "source"), ("--reid-convention", "--reid")):
        add(
            option,
            choices=CONVENTION_NAMES,
            help=f"channel order, pixel statistics and stride of {source}; default: the usual ones "
            "for its tensor names",
        )
    add("--partial", action="store_true", help="accept a network with only some of the tensors")
    add("opts", nargs="*", metavar="KEY VALUE", help="config overrides")
    add_embedder_arguments(parser)
    return _assign_files(parser, parser.parse_intermixed_args(argv))


def _assign_files(parser: argparse.ArgumentParser, args: argparse.Namespace) -> argparse.Namespace:
    """Read the first words by the form of the command: a complete network is the source."""
    _refuse_unused_options(parser, args)
    if args.search is None and args.detector is None:
        if args.source is None:
            parser.error("the following arguments are required: source, output")
        return args
    if args.search and (args.detector or args.reid):
        parser.error("--search takes a model that detects and embeds; leave out the other networks")
    if args.detector and not args.reid:
        parser.error(f"--detector finds people, but cannot tell them apart; {_NEEDS_REID}")
    trained = args.detector and args.config_file
    if (
        args.convention
        or not trained
        and (args.config_file or args.reid_convention or args.partial)
    ):
        parser.error("a complete network brings its config, and takes no options for backbones")
    if args.source is not None:
        args.source, args.output, args.opts = None, args.source, [args.output, *args.opts]
    return args


def _refuse_unused_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    given = [
        f"--{name.replace('_', '-')}"
        for name in ("person_class", *EMBEDDER_OPTIONS)
        if getattr(args, name) != parser.get_default(name)
    ]
    if given and not args.detector:
        parser.error(f"only --detector with --reid takes {', '.join(given)}; leave it out")
    if args.config_file and (given := [name for name in given if name != "--person-class"]):
        parser.error(f"--config-file describes the re-ID network; leave out {', '.join(given)}")


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
    sources = args.detector, args.search, args.source, args.reid
    check_model_files(*sources, config_file=args.config_file or CONFIG)
    check_output_file(args.output)
    _keep_sources(args.output, sources)
    if (args.search or args.detector) and not args.config_file:
        _convert_networks(args)
    else:
        _convert_backbones(args)


def _keep_sources(output: str, sources: "Iterable[str | None]") -> None:
    for source in sources:
        if source and os.path.exists(output) and os.path.samefile(source, output):
            raise InputError(f"output {output!r}: is the file to convert; expected another name")


def _convert_networks(args: argparse.Namespace) -> None:
    if not args.output.endswith(".pth"):
        raise InputError(f"output {args.output!r}: expected a name that ends in .pth")
    suffixes = [".yaml", ".onnx"] if (args.reid or "").endswith(".onnx") else [".yaml"]
    for suffix in suffixes:
        check_output_file(f"{args.output.removesuffix('.pth')}{suffix}")
    from clsa_search.checkpoint.search_model import join_search_model, save_search_model

    parts = _read_networks(args)
    config_file = save_search_model(join_search_model(parts, args.opts), args.output)
    for part in parts:
        print(f"{part.path}: {part.name}, {count_noun(len(part.tensors), 'tensor')}")
        print(*(f"  {line}\n" for line in part.report), sep="", end="")
    print(f"wrote {args.output} and its config {config_file}")
    print(f"search with: {shlex.join(['clsa-search', 'index', '--weights', args.output])} ...")


def _read_networks(args: argparse.Namespace) -> "list[PublicWeights]":
    from clsa_search.checkpoint.detector_layouts import read_detector
    from clsa_search.checkpoint.reid_layouts import read_embedder
    from clsa_search.checkpoint.search_layouts import read_searcher

    if args.search:
        return [read_searcher(args.search)]
    return [
        read_detector(args.detector, person_class=args.person_class),
        read_embedder(args.reid, read_embedder_options(args)),
    ]


def _convert_backbones(args: argparse.Namespace) -> None:
    from clsa_search.checkpoint.conversion import convert_weights, required_keys, save_weights
    from clsa_search.checkpoint.search_model import read_detector_to_train
    from clsa_search.engine import load_config

    cfg, detector = load_config(args.config_file or CONFIG, args.opts), None
    if args.detector:
        detector = read_detector_to_train(cfg, args.detector, person_class=args.person_class)
    converted = convert_weights(
        cfg,
        args.source,
        reid_source=args.reid,
        convention=args.convention,
        reid_convention=args.reid_convention,
        partial=args.partial,
    )
    save_weights(converted, args.output, detector)
    if detector:
        print(f"{detector.path}: {detector.name}, {count_noun(len(detector.tensors), 'tensor')}")
    print(format_report(converted))
    keys = [word for pair in required_keys(cfg, converted).items() for word in map(str, pair)]
    print(f"\nThe weights depend on: {shlex.join(keys)}")
    print(f"Train from them with: {shlex.join(['MODEL.WEIGHTS', args.output, *args.opts])}")
