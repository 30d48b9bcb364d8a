"""The arguments for public re-ID networks."""

import argparse

import pytest

from clsa_search.checkpoint.presets import EmbedderOptions
from clsa_search.commands.embedder_arguments import add_embedder_arguments, read_embedder_options


def parse(line):
    parser = argparse.ArgumentParser()
    add_embedder_arguments(parser)
    return read_embedder_options(parser.parse_args(line.split()))


def test_without_arguments_the_preset_decides():
    assert parse("") == EmbedderOptions()


def test_every_argument_is_read():
    line = "--reid-preset solider --crop-size 128 64 --last-stride 2 --before-neck"
    assert parse(f"{line} --reid-drop fc. --reid-drop b1") == EmbedderOptions(
        "solider", (128, 64), 2, before_neck=True, drop=("fc.", "b1")
    )


@pytest.mark.parametrize(
    "line", ["--reid-preset vgg", "--crop-size 0 64", "--crop-size 64", "--last-stride 3"]
)
def test_wrong_values_are_refused(line):
    with pytest.raises(SystemExit):
        parse(line)
