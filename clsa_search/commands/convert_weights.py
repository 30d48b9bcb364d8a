"""Convert pretrained ResNets of other projects to a checkpoint for the backbones of a model.

clsa-convert-weights resnet50.pth weights/r50_imagenet.pth
clsa-convert-weights resnet50.pth weights/r50_reid.pth --reid reid_resnet50.pth.tar
clsa-convert-weights --search epoch_19.pth weights/seqnet.pth

The last form takes a complete searching model, SeqNet or NAE, and writes its config beside it,
weights/seqnet.yaml: `clsa-search index --weights weights/seqnet.pth` works at once. The other forms
give weights to train from.

Accepted are tensors with the names of torchvision, of re-ID projects (with any prefix), and of
Detectron2 and Caffe2 (.pkl). Code in a file is never run. The command reports the loaded, missing
and unused tensors, and the config keys that the weights depend on.
"""

import argparse
import shlex
from typing import TYPE_CHECKING

from clsa_search.checkpoint.conventions import CONVENTION_NAMES
from clsa_search.commands.arguments import check_model_files
from clsa_search.errors import InputError, reported_input_errors
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
    add(
        "source",
        nargs="?",
        help="checkpoint with a ResNet for both backbones; not with --search",
    )
    add("output", help="checkpoint to write (.pth), for MODEL.WEIGHTS")
    add("--search", metavar="SOURCE", help="checkpoint of SeqNet or NAE")
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
    return _assign_files(parser, parser.parse_intermixed_args(argv))


def _assign_files(parser: argparse.ArgumentParser, args: argparse.Namespace) -> argparse.Namespace:
    """Read the first words by the form of the command: --search takes the place of the source."""
    if args.search is None:
        if args.source is None:
            parser.error("the following arguments are required: source, output")
        return args
    if args.reid or args.convention or args.reid_convention or args.partial:
        parser.error("--search takes a complete model, and none of the options for backbones")
    if args.source is not None:
        args.source, args.output, args.opts = None, args.source, [args.output, *args.opts]
    return args


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
    check_model_files(args.search, args.source, args.reid, config_file=args.config_file)
    check_output_file(args.output)
    if args.search:
        _convert_searcher(args)
    else:
        _convert_backbones(args)


def _convert_searcher(args: argparse.Namespace) -> None:
    if not args.output.endswith(".pth"):
        raise InputError(f"output {args.output!r}: expected a name that ends in .pth")
    check_output_file(f"{args.output.removesuffix('.pth')}.yaml")
    from clsa_search.checkpoint.searcher_file import check_filled, read_searcher, save_searcher
    from clsa_search.config_values import list_values
    from clsa_search.engine import load_config

    searcher = read_searcher(args.search)
    cfg = load_config("", [*(x for pair in searcher.config.items() for x in pair), *args.opts])
    check_filled(searcher, cfg)
    values = dict(list_values(cfg))
    keys = [*searcher.config, *args.opts[::2]]
    config_file = save_searcher(searcher, {key: values[key] for key in keys}, args.output)
    print(
        f"{args.search}: {searcher.name}, {len(searcher.tensors)} tensors",
        *searcher.report,
        sep="\n",
    )
    print(f"wrote {args.output} and its config {config_file}")
    print(f"search with: {shlex.join(['clsa-search', 'index', '--weights', args.output])} ...")


def _convert_backbones(args: argparse.Namespace) -> None:
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
