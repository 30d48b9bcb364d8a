"""Help and wrong arguments answer before anything slow is imported."""

import json
import subprocess
import sys
from functools import lru_cache

import pytest

from tests.support.tiny import ROOT

TOOLS = sorted(path.stem for path in (ROOT / "tools").glob("*.py"))
SLOW = {"torch", "torchvision", "detectron2", "cv2", "matplotlib", "scipy", "pymilvus", "onnx"}
SLOW |= {"PIL", "fastapi", "pydantic", "uvicorn", "tabulate", "tqdm"}
GALLERY_COMMANDS = ["index", "query", "serve", "list", "delete", "copy", "prune", "relink"]
GALLERY_COMMANDS += ["retime", "export", "retention", "people", "verdict"]

RUN = """
import json, resource, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
    status = 0
except SystemExit as stop:
    status = stop.code or 0
usage = resource.getrusage(resource.RUSAGE_SELF)
report = {"status": status, "modules": list(sys.modules), "cpu": usage.ru_utime + usage.ru_stime}
print("\\n" + json.dumps(report))
"""


def run(*words: str) -> dict:
    """Run a Python file; return its exit status, modules and CPU seconds."""
    command = [sys.executable, "-c", RUN, *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    *_, report = done.stdout.splitlines()
    return {**json.loads(report), "output": done.stdout + done.stderr}


@lru_cache
def seconds_of_torch() -> float:
    """Return the CPU seconds of a process that imports torch."""
    code = "import torch, resource as r; u = r.getrusage(r.RUSAGE_SELF); print(u[0] + u[1])"
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def check_quick(report: dict, status: int) -> None:
    assert report["status"] == status, report["output"]
    assert not SLOW & set(report["modules"])
    assert report["cpu"] < seconds_of_torch()


@pytest.mark.parametrize("tool", TOOLS)
def test_help_is_quick(tool):
    report = run(f"tools/{tool}.py", "--help")
    check_quick(report, status=0)
    assert "usage:" in report["output"]


@pytest.mark.parametrize("command", GALLERY_COMMANDS)
def test_help_of_a_gallery_command_is_quick(command):
    check_quick(run("tools/search_gallery.py", command, "--help"), status=0)


@pytest.mark.parametrize("tool", TOOLS)
def test_an_unknown_option_is_refused_quickly(tool):
    report = run(f"tools/{tool}.py", "--no-such-option")
    check_quick(report, status=2)
    assert "error:" in report["output"]


@pytest.mark.parametrize(
    "words",
    [
        "train_net --num-gpus two",
        "train_net",
        "train_net --config-file nowhere.yaml",
        "eval_search --dataset a.json",
        "eval_search --dataset a.json --predictions a.npz --weights a.pth",
        "eval_search --dataset a.json --config-file nowhere.yaml",
        "search_gallery",
        "search_gallery find",
        "search_gallery query gallery.db --top many",
        "search_gallery index",
        "check_dataset",
        "convert_weights",
        "import_mot",
        "export_model",
        "eval_search --dataset a.json --predictions nowhere.npz",
        "eval_search --dataset a.json --predictions README.md --compare nowhere.npz",
        "eval_search --dataset a.json --config-file clsa_crop_R50_prw --weights nowhere.pth",
        "search_gallery index --store a.db --weights nowhere.pth README.md",
        "search_gallery query --store a.db --id 1 --config-file nowhere.yaml",
        "search_gallery index --weights README.md --store a.db --detections nowhere.txt README.md",
        "search_gallery index --weights README.md --store a.db --detections-category 1 README.md",
        "eval_search --dataset a.json --predictions a.npz --detections README.md",
        "eval_search --dataset a.json --config-file clsa_crop_R50_prw --detections nowhere.json",
        "export_model --weights nowhere.pth --what reid --format onnx --output a.onnx",
        "eval_search --dataset a.json --predictions README.md --cbgm 0 0",
        "eval_search --dataset a.json --predictions README.md --k-reciprocal 20 6 2",
        "search_gallery list nowhere.db",
        "search_gallery query --store nowhere.db --id 1",
        "search_gallery copy nowhere.db a.db",
        "import_mot nowhere datasets/mot",
        "train_net --config-file clsa_crop_R50_prw MODEL.WEIGHTS nowhere.pth",
        "convert_weights nowhere.pth a.pth",
        "convert_weights README.md a.pth --reid nowhere.pth",
        "convert_weights README.md a.pth --config-file nowhere.yaml",
    ],
)
def test_a_wrong_argument_is_refused_quickly(words):
    tool, *arguments = words.split()
    check_quick(run(f"tools/{tool}.py", *arguments), status=2)
