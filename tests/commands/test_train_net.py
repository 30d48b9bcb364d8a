"""The training command: its first words, and its answers to wrong input."""

import logging
import subprocess
import sys
import time

import pytest
from detectron2.utils.logger import setup_logger

from tests.support.tiny import ROOT, load_tool

TRAIN_NET = str(ROOT / "tools" / "train_net.py")


@pytest.fixture
def run():
    yield lambda *argv: load_tool("train_net").main([str(word) for word in argv])
    setup_logger.cache_clear()  # its handlers write to the captured output of this test
    for name in ("detectron2", "fvcore", "clsa_search"):
        logging.getLogger(name).handlers.clear()


def test_a_config_file_is_needed(fails):
    assert "--config-file is missing; expected" in (error := fails())
    assert "clsa_crop_R50_prw" in error


def test_missing_weights_of_a_config_name_the_command_that_makes_them(fails, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = fails("--config-file", "clsa_crop_R50_prw")
    assert "MODEL.WEIGHTS 'weights/r50_imagenet.pth' does not exist" in error
    assert "clsa-convert-weights resnet50-11ad3fa6.pth weights/r50_imagenet.pth" in error


def test_an_output_folder_below_a_file_is_refused(fails, demo_config_file, tmp_path):
    (tmp_path / "file").touch()
    error = fails("--config-file", demo_config_file, "OUTPUT_DIR", tmp_path / "file" / "run")
    assert f"{tmp_path / 'file' / 'run'}: cannot be written" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["DATASETS.TRAIN", "()"], "DATASETS.TRAIN is empty"),
        (["DATASETS.TRAIN", "('coco_2017_val',)"], "'coco_2017_val' is not for person search"),
        (["DATASETS.TEST", "('coco_2017_val',)"], "'coco_2017_val' is not for person search"),
        (["--eval-only", "DATASETS.TEST", "()"], "DATASETS.TEST is empty"),
        (["--eval-only", "DATASETS.TEST", "('x',)"], "Unknown dataset 'x'; expected one of"),
        (["MODEL.REID.NAME", "Branch"], "command line: MODEL.REID.NAME is 'Branch'"),
        (["SOLVER.IMS_PER_BATCH", "3", "SOLVER.REFERENCE_WORLD_SIZE", "2"], "IMS_PER_BATCH is 3"),
        (["MODEL.FPN.IN_FEATURES", "['res2', 'res9']"], "has no output 'res9'"),
        (["MODEL.RPN.IN_FEATURES", "['p9']"], "has no output 'p9'"),
        (["MODEL.FPN.NORM", "GN", "MODEL.FPN.OUT_CHANNELS", "7"], "the config cannot be built"),
    ],
)
def test_a_fault_of_the_config_is_one_line(fails, demo_config_file, tiny_opts, words, message):
    option = words[:1] if words[0].startswith("--") else []
    opts = [*tiny_opts, *words[len(option) :]]
    assert message in fails("--config-file", demo_config_file, *option, *opts)


def test_the_first_line_comes_at_once_and_names_data_and_weights(demo_config_file, tiny_opts):
    command = [sys.executable, TRAIN_NET, "--config-file", demo_config_file, *tiny_opts]
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        seconds = time.monotonic() - start
        process.kill()
    assert "train.json" in line and "from random weights" in line and "output: " in line
    assert seconds < 10
