"""Export a trained model to a file that needs neither Detectron2 nor this package.

clsa-export --weights model_final.pth --what reid --format onnx --output reid.onnx
clsa-export --weights model_final.pth --what model --format torchscript --output model.pt

"reid" takes crops of people and returns their embeddings; "model" takes an image and returns boxes,
scores and embeddings. The results of the file are compared with the model before it is written.
"""

import argparse
from pathlib import Path

from clsa_search.commands.arguments import check_model_files
from clsa_search.errors import reported_input_errors
from clsa_search.export.choices import EXPORT_NAMES, FORMAT_NAMES
from clsa_search.output_checks import check_output_file
from clsa_search.wording import count_noun


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--weights", required=True, type=Path, help="checkpoint of a trained model")
    add("--config-file", type=Path, help="default: config.yaml beside the weights")
    add("--what", required=True, choices=EXPORT_NAMES, help="re-ID branch or whole model")
    add("--format", required=True, choices=FORMAT_NAMES, help="onnx: only for the re-ID branch")
    add("--output", required=True, type=Path, metavar="FILE", help="file to write")
    add("--images", nargs="+", type=Path, default=[], help="images to compare the whole model on")
    add("opts", nargs="*", metavar="KEY VALUE", help="config overrides, such as MODEL.DEVICE cpu")
    return parser.parse_intermixed_args(argv)


@reported_input_errors()
def main(argv: list[str] | None = None) -> None:
    """Export a model and print a description of the file."""
    args = parse_args(argv)
    # wrong names show before the slow imports
    check_model_files(args.weights, config_file=args.config_file)
    check_output_file(args.output)
    from clsa_search.export import export_model

    report = export_model(
        args.weights,
        args.output,
        what=args.what,
        file_format=args.format,
        config_file=args.config_file,
        opts=args.opts,
        images=args.images,
    )
    print(f"{report.path}, {report.path.stat().st_size / 1e6:.1f} MB:")
    for key, value in report.about.items():
        print(f"  {key}: {value}")
    print(
        f"largest difference from the eager model: {report.difference:.1e}, over "
        f"{count_noun(report.embeddings, 'embedding')} in {count_noun(report.inputs, 'input')}"
    )
    if not report.embeddings:
        print("the noise gave no detections; use --images IMAGE ... to compare on real images")
