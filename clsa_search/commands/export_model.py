"""Write a trained model as a file that runs without Detectron2 and without this package.

tools/export_model.py --weights model_final.pth --what reid --format onnx --output reid.onnx
tools/export_model.py --weights model_final.pth --what model --format torchscript --output model.pt

"reid" takes crops of people and gives their embeddings; "model" takes an image and gives boxes,
scores and embeddings. The file is compared with the model before it is written.
"""

import argparse
from pathlib import Path

from clsa_search.errors import reported_input_errors
from clsa_search.export import export_model
from clsa_search.export.exporter import EXPORTS, FORMATS


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--weights", required=True, type=Path, help="checkpoint of a trained model")
    add("--config-file", type=Path, help="by default config.yaml beside the weights")
    add("--what", required=True, choices=EXPORTS, help="re-ID branch, or whole model")
    add("--format", required=True, choices=FORMATS, help="onnx is for the re-ID branch alone")
    add("--output", required=True, type=Path, metavar="FILE", help="to write")
    add("--images", nargs="+", type=Path, default=[], help="to compare the whole model on, too")
    add("opts", nargs="*", metavar="KEY VALUE", help="for the config; MODEL.DEVICE cpu, say")
    return parser.parse_intermixed_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with reported_input_errors():
        exported = export_model(
            args.weights,
            args.output,
            what=args.what,
            file_format=args.format,
            config_file=args.config_file,
            opts=args.opts,
            images=args.images,
        )
    print(f"{exported.path}, {exported.path.stat().st_size / 1e6:.1f} MB, says of itself:")
    for key, value in exported.about.items():
        print(f"  {key}: {value}")
    print(
        f"greatest difference from the eager model: {exported.difference:.1e}, over "
        f"{exported.people} people in {exported.inputs} inputs"
    )
    if not exported.people:
        print("nobody was seen in the noise: --images PICTURES compares on people")
