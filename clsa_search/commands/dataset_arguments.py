"""Options of all commands that read JSON files of annotation tools."""

import argparse

from clsa_search.commands.arguments import check_readable
from clsa_search.errors import InputError


def add_dataset_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that tell how to read a custom JSON file."""
    group = parser.add_argument_group("JSON files of annotation tools")
    group.add_argument(
        "--image-root", metavar="DIR", help="folder of the images (default: that of the file)"
    )
    group.add_argument(
        "--id-field",
        metavar="FIELD",
        help="field of the identity (default: person_id); CVAT: attributes.track_id",
    )
    group.add_argument(
        "--category", metavar="NAME", help="name or id of the persons' category, of several"
    )


def check_dataset_options(name: str, args: argparse.Namespace) -> None:
    """Check the name of a dataset with the options, without slow imports.

    Raises:
        InputError: a JSON file does not exist, or the options are given for another dataset.
    """
    if name.endswith(".json"):
        check_readable(name)
    elif options := list_json_options(args):
        given = ", ".join(f"--{key.replace('_', '-')}" for key in options)
        raise InputError(f"{name}: is no .json file; expected one with {given}")


def register_dataset(name: str, args: argparse.Namespace) -> None:
    """Register a JSON file under its path, to be read with the options."""
    if options := list_json_options(args):
        from clsa_search.data import register_custom_json

        register_custom_json(name, name, **options)


def list_json_options(args: argparse.Namespace) -> dict[str, str]:
    """Return the given options as arguments of `register_custom_json`."""
    values = {key: getattr(args, key) for key in ("image_root", "id_field", "category")}
    return {key: value for key, value in values.items() if value is not None}


def list_config_options(args: argparse.Namespace) -> list[str]:
    """Return the given options as KEY VALUE pairs for the config of a training."""
    pairs = []
    for key, value in list_json_options(args).items():
        pairs += [f"DATASETS.{key.upper()}", repr(value)]  # a literal: a category may be a number
    return pairs
