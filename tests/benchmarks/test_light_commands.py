"""Commands of the benchmarks and of the synthetic generator: they parse before heavy imports."""

import subprocess
import sys

import pytest

from tests.support.tiny import ROOT

PARSE = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    heavy = "torch", "detectron2", "cv2", "matplotlib", "scipy", "tabulate", "tqdm"
    loaded = [name for name in heavy if name in sys.modules]
    sys.exit(f"imported {loaded}" if loaded else end.code)
"""


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("benchmark --help", 0, "usage: benchmark.py"),
        ("benchmark query --help", 0, "--detections"),
        ("benchmark query --device nope", 2, "error: --device: nope"),
        ("ablate --help", 0, "--variants"),
        ("ablate --grid none", 2, "invalid choice: 'none'"),
        ("make_synthetic --help", 0, "--min-visible"),
        ("make_synthetic --preset none", 2, "invalid choice: 'none'"),
    ],
)
def test_help_and_wrong_arguments_answer_before_heavy_imports(arguments, status, message):
    tool, *options = arguments.split()
    words = [sys.executable, "-c", PARSE, str(ROOT / "tools" / f"{tool}.py"), *options]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == status, done.stderr
    assert message in done.stdout + done.stderr
