#!/usr/bin/env python
"""Make `import detectron2` work in this Python environment without a compiler.

An importable Detectron2 is left alone. Otherwise the Python files of the official release v0.6 are
taken from a hash-pinned source distribution, patched for current NumPy, Pillow and setuptools,
built into a pure-Python wheel and installed. Faster R-CNN does not need the compiled operators:
RoIAlign and NMS come from torchvision.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

REQUIREMENT = (
    "pb1-detectron2==0.6 "
    "--hash=sha256:5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29"
)


@dataclass(frozen=True)
class Patch:
    """A replacement in source files.

    Args:
        files: paths below detectron2/, each with at least one match.
        pattern: regular expression.
        replacement: replacement of each match, as in `re.sub`.
        reason: why Detectron2 needs it.
    """

    files: tuple[str, ...]
    pattern: str
    replacement: str
    reason: str


PATCHES = (
    Patch(
        files=(
            "data/build.py",
            "data/datasets/pascal_voc.py",
            "evaluation/pascal_voc_evaluation.py",
            "evaluation/sem_seg_evaluation.py",
            "structures/masks.py",
            "utils/video_visualizer.py",
            "utils/visualizer.py",
        ),
        pattern=r"\bnp\.(bool|int|float|str)\b",
        replacement=r"\1",
        reason="NumPy 1.24 removed the aliases of Python's own types",
    ),
    Patch(
        files=("data/transforms/transform.py",),
        pattern=r"\bImage\.LINEAR\b",
        replacement="Image.BILINEAR",
        reason="Pillow 10 removed the alias LINEAR",
    ),
    Patch(
        files=("model_zoo/model_zoo.py",),
        pattern=r"^import pkg_resources$",
        replacement="import importlib.resources",
        reason="setuptools 82 removed pkg_resources",
    ),
    Patch(
        files=("model_zoo/model_zoo.py",),
        pattern=r"pkg_resources\.resource_filename\(\s*"
        r'"detectron2\.model_zoo", os\.path\.join\("configs", config_path\)\s*\)',
        replacement='str(importlib.resources.files("detectron2.model_zoo") / "configs" '
        "/ config_path)",
        reason="setuptools 82 removed pkg_resources",
    ),
)

# In place of the compiled module: the import works, a call says what is missing.
PLACEHOLDER = '''"""Stands in for the compiled operators, which this build does not have."""


def get_compiler_version():
    return "none: pure-Python build"


get_cuda_version = get_compiler_version


def has_cuda():
    return False


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise ImportError(
        f"detectron2._C.{name} is a compiled operator, and this is the pure-Python build of "
        "Detectron2 0.6. Deformable convolution and rotated boxes need Detectron2's own source "
        "install, which compiles it."
    )
'''

SETUP = """
from setuptools import find_packages, setup

projects = {
    "detectron2.projects.point_rend": "projects/PointRend/point_rend",
    "detectron2.projects.deeplab": "projects/DeepLab/deeplab",
    "detectron2.projects.panoptic_deeplab": "projects/Panoptic-DeepLab/panoptic_deeplab",
}
setup(
    name="detectron2",
    version="0.6+purepython",
    description="Detectron2 v0.6 without compiled operators, patched for current dependencies",
    license="Apache-2.0",
    packages=find_packages(include=["detectron2", "detectron2.*"]) + list(projects),
    package_dir=projects,
    package_data={"detectron2.model_zoo": ["configs/**/*"]},
    python_requires=">=3.8",
)
"""


def run_pip(
    *arguments: str, capture_output: bool = False, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run pip of this interpreter, with the user's index, mirror and proxy settings."""
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, text=True, capture_output=capture_output, env=env)


def download_source(folder: Path) -> Path:
    """Download, verify and unpack the source distribution with pip; return the unpacked tree.

    pip fails in the end because the metadata names a dependency by URL. By then it has checked the
    hash and unpacked the archive to its temporary folder; `--no-clean` keeps that folder.

    Args:
        folder: temporary folder of pip.
    """
    requirement = folder / "requirement.txt"
    requirement.write_text(REQUIREMENT + "\n", encoding="utf-8")
    result = run_pip(
        *("download", "--no-clean", "--no-deps", "--no-binary=:all:", "--no-build-isolation"),
        *("--require-hashes", "-r", str(requirement), "-d", str(folder)),
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
    )
    trees = [path.parent for path in folder.glob("pip-*/*/PKG-INFO")]
    if "DO NOT MATCH THE HASHES" in result.stderr or len(trees) != 1:
        raise SystemExit(f"cannot download {REQUIREMENT.split()[0]}:\n{result.stderr.strip()}")
    return trees[0]


def apply_patches(tree: Path) -> None:
    """Apply PATCHES below <tree>/detectron2 and add the placeholder module."""
    for patch in PATCHES:
        for name in patch.files:
            path = tree / "detectron2" / name
            text, count = re.subn(
                patch.pattern, patch.replacement, path.read_text(encoding="utf-8"), flags=re.M
            )
            if count == 0:
                raise SystemExit(f"{name}: nothing matches {patch.pattern!r} ({patch.reason})")
            path.write_text(text, encoding="utf-8")
    (tree / "detectron2" / "_C.py").write_text(PLACEHOLDER, encoding="utf-8")
    (tree / "setup.py").write_text(SETUP, encoding="utf-8")


def build_wheel(output: Path) -> Path:
    """Build the pure-Python wheel and return its path.

    Args:
        output: folder of the wheel.
    """
    with tempfile.TemporaryDirectory(prefix="detectron2-") as folder:
        tree = download_source(Path(folder))
        apply_patches(tree)
        result = run_pip(
            # an isolated build: this environment may lack setuptools or wheel
            *("wheel", "--no-deps", "--use-pep517", "-w", str(output), str(tree)),
            capture_output=True,
        )
    wheels = sorted(output.glob("detectron2-0.6+purepython-*.whl"))
    if result.returncode or not wheels:
        raise SystemExit(f"cannot build the wheel:\n{result.stdout}\n{result.stderr}")
    return wheels[-1]


def main() -> None:
    """Install Detectron2 if it is missing, or only build the wheel."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--wheel", type=Path, metavar="DIR", help="only build the wheel into DIR")
    args = parser.parse_args()
    if args.wheel:
        args.wheel.mkdir(parents=True, exist_ok=True)
        print(build_wheel(args.wheel))
        return
    importing = [sys.executable, "-c", "import detectron2.layers, detectron2.engine"]
    if subprocess.run(importing, capture_output=True).returncode == 0:
        print("Detectron2 is importable: left as it is")
        return
    with tempfile.TemporaryDirectory(prefix="detectron2-wheel-") as folder:
        wheel = build_wheel(Path(folder))
        if run_pip("install", "--no-deps", "--quiet", str(wheel)).returncode:
            raise SystemExit(f"cannot install {wheel.name}")
    print("installed the pure-Python build of Detectron2 0.6")


if __name__ == "__main__":
    main()
