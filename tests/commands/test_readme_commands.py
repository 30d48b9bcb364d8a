"""Every documented command runs, and bad input ends a command with one line.

Options at the end of a command make images, model and schedule small.
"""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import torch
import torchvision

from clsa_search.data.builtin import SYNTHETIC_SPLITS
from tests.data.datasets.test_mot import walk, write_sequence
from tests.support.footage import write_video
from tests.support.tiny import ROOT, TINY_MODEL

COMMANDS = {
    "clsa-train": "train_net",
    "clsa-eval": "eval_search",
    "clsa-search": "search_gallery",
    "clsa-convert-weights": "convert_weights",
    "clsa-check-dataset": "check_dataset",
    "clsa-import-mot": "import_mot",
    "clsa-export": "export_model",
}
"""Console scripts and their modules in clsa_search.commands."""

SMALL = {
    "make_synthetic": [
        *("--train-ids", "6", "--test-ids", "6", "--train-images", "8", "--gallery-images", "14"),
        *("--width", "96", "--height", "72", "--min-height", "12", "--workers", "1"),
        *("--min-people", "3", "--max-people", "4", "--cameras", "2"),
    ],
    "train_net": [
        *TINY_MODEL,
        *("SOLVER.MAX_ITER", "2", "SOLVER.STEPS", "()", "TEST.EVAL_PERIOD", "0"),
        *("DATALOADER.IMS_PER_IDENTITY", "2"),
    ],
    "eval_search": TINY_MODEL,
    "import_mot": [],
    "check_dataset": [],
    "ablate": [
        *("--variants", "alignment", "--seeds", "1", "--num-gpus", "1"),
        *(*TINY_MODEL, "SOLVER.MAX_ITER", "2"),
    ],
    "convert_weights": [
        *("MODEL.RESNETS.WIDTH_PER_GROUP", "4"),
        *("MODEL.REID.BACKBONE.RESNETS.WIDTH_PER_GROUP", "4"),
    ],
    "export_model": [],
    "search_gallery": [],
    "benchmark": ["--repeat", "1"],
}
"""Options that make each command small."""

# res5 of these crops is wide enough for bfloat16 on a CPU, see the end of docs/performance.md
_SMALL_MODEL = ["--size", "72", "96", "--boxes", "2", "--opts", *TINY_MODEL]
_SMALL_MODEL += ["MODEL.REID.CROP_SIZE", "[128, 64]"]
SMALL_SUBCOMMANDS = {
    "search_gallery index": ["--min-score", "0"],
    "benchmark evaluation": ["--scale", "0.02", "--widths", "8"],
    "benchmark query": ["--detections", "2000", "--widths", "8"],
    "benchmark inference": _SMALL_MODEL,
    "benchmark training": _SMALL_MODEL,
    "benchmark index": ["--images", "2", *_SMALL_MODEL],
}
"""Further options of some subcommands."""

GUIDES = ("README.md", "docs/training.md", "docs/evaluation.md", "docs/search.md", "docs/export.md")
"""Pages of which every command runs, in this order."""

REPORTS = ("docs/performance.md", "docs/ablation.md")
"""Pages of which the first command of each kind runs."""


def read_commands(page):
    """Return the (tool, arguments) of all commands in the bash blocks of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.S)
    commands = []
    for line in "\n".join(blocks).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["python"] and words[1].startswith("tools/"):
            commands.append((Path(words[1]).stem, words[2:]))
        elif words and words[0] in COMMANDS:
            commands.append((COMMANDS[words[0]], words[1:]))
    return commands


def documented_commands():
    """Return all commands to run, each once."""
    commands = []
    for page in GUIDES:
        commands += [command for command in read_commands(page) if command not in commands]
    kinds = {(tool, arguments[0]) for tool, arguments in commands if arguments}
    for page in REPORTS:
        for tool, arguments in read_commands(page):
            if (tool, arguments[0]) not in kinds:
                kinds.add((tool, arguments[0]))
                commands.append((tool, arguments))
    return commands


PREPARE_SEARCH = """
from clsa_search.data.image_io import read_image
image = read_image("datasets/synthetic_demo/gallery/images/c1_00006.jpg")
box = 10, 10, 40, 60
"""


def readme_search():
    """Return the search in Python of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.search(r"In Python:\n\n```python\n(.*?)```", text, flags=re.S)[1]


def run(words, folder):
    environment = {k: v for k, v in os.environ.items() if k != "DETECTRON2_DATASETS"}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def open_page(words, folder):
    """Start a command that serves a page; return the page."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, *words, "--port", str(port)]
    server = subprocess.Popen(words, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        for _ in range(600):
            assert server.poll() is None
            try:
                with urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
                    return page.read().decode()
            except URLError:
                time.sleep(0.2)
        raise AssertionError("no answer within two minutes")
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A folder like the checkout, with weights, videos and detections of others in it."""
    folder = tmp_path_factory.mktemp("workspace")
    for name in ("tools", "configs"):
        (folder / name).symlink_to(ROOT / name)
    for sequence in ("MOT17-02", "MOT17-04"):
        rows = [*walk(1, 1, 1, 1), *walk(2, 1, 1, 1, x=25)]
        write_sequence(folder / "MOT17" / "train", sequence, rows)
    write_video(folder / "door.avi", [{0: 10}] * 5)
    (folder / "det.txt").write_text("1,-1,10,20,14,40,0.9,-1,-1,-1\n")
    box = {"image_id": "c1_00006", "category_id": 1, "bbox": [10, 10, 30, 50], "score": 0.9}
    (folder / "results.json").write_text(json.dumps([box]))
    state = torchvision.models.resnet50(width_per_group=4).state_dict()
    torch.save(state, folder / "resnet50.pth")
    named = {f"module.base.{name}": value for name, value in state.items()}
    torch.save({"state_dict": named}, folder / "reid_resnet50.pth.tar")
    return folder


def test_every_documented_command_runs(workspace):
    commands = documented_commands()
    assert {tool for tool, _ in commands} == {*SMALL, "install_detectron2"}, "undocumented tool"
    for tool, arguments in commands:
        script = f"tools/{tool}.py"
        if tool == "install_detectron2":
            assert "left as it is" in run([script], workspace).stdout
            continue
        small = [] if "--predictions" in arguments else SMALL[tool]
        small = [*small, *SMALL_SUBCOMMANDS.get(f"{tool} {arguments[0]}", [])]
        # a box inside the images of 96 x 72
        arguments = ["10,10,40,60" if word.count(",") == 3 else word for word in arguments]
        if arguments[0] == "serve":
            assert "Find a person" in open_page([script, *arguments], workspace)
            continue
        done = run([script, *arguments, *small], workspace)
        assert done.returncode == 0, f"{tool} {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    done = run(["-c", PREPARE_SEARCH + readme_search()], workspace)
    assert done.returncode == 0 and "gallery/images/c" in done.stdout, done.stdout + done.stderr
    for made in (
        *("output/demo/model_final.pth", "output/demo/curves.png", "output/demo/metrics.json"),
        *("output/demo/eval/results.json", "output/demo/eval/sheets/rankings.png"),
        *("output/mot17/model_final.pth", *(f"datasets/{f}" for f in SYNTHETIC_SPLITS.values())),
    ):
        if "synthetic/" not in made:  # the full preset is not generated here
            assert (workspace / made).is_file(), made


def test_a_corrupt_image_ends_training_with_its_name(tiny_data, tmp_path):
    image = tmp_path / "train_0.png"
    document = json.loads((tiny_data / "train.json").read_text())
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] == 0]
    document["images"] = document["images"][:1]
    (tmp_path / "train.json").write_text(json.dumps(document))
    image.write_bytes((tiny_data / "train_0.png").read_bytes()[:100])
    opts = [*TINY_MODEL, "DATALOADER.NUM_WORKERS", "1", "DATASETS.TRAIN", "('train.json',)"]
    opts += ["DATASETS.TEST", "()"]
    config = str(ROOT / "configs" / "clsa_small_synthetic_demo.yaml")
    done = run([str(ROOT / "tools" / "train_net.py"), "--config-file", config, *opts], tmp_path)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and "train_0.png" in last


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train_net.py --config-file nowhere.yaml", "config file nowhere.yaml does not exist"),
        ("train_net.py --config-file {config} MODEL.RIED 1", "MODEL.RIED"),
        ("train_net.py --config-file {config} MODEL.WEIGHTS no.pth", "MODEL.WEIGHTS 'no.pth'"),
        ("train_net.py --config-file {config} DATASETS.TRAIN ('no.json',)", "no.json"),
        ("train_net.py --config-file {config} DATASETS.TRAIN ('nothing',)", "synthetic_train"),
        ("train_net.py --config-file {config} --eval-only", "checkpoint '' does not exist"),
        ("eval_search.py --config-file {config} --dataset no.json", "no.json"),
    ],
)
def test_bad_input_ends_a_command_with_one_line(command, message, tmp_path):
    config = ROOT / "configs" / "clsa_small_synthetic_demo.yaml"
    tool, *arguments = command.format(config=config).split()
    done = run([str(ROOT / "tools" / tool), *arguments], tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0]
    assert "Traceback" not in done.stderr
