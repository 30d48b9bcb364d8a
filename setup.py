"""Package metadata. The exact versions of `make demo` and `make test` are in requirements.lock."""

from itertools import chain
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

EXTRAS = {
    # clsa-search serve; older versions of Starlette have open advisories
    "page": ["fastapi>=0.115", "starlette>=0.49.1", "uvicorn>=0.30"],
    # milvus-lite stands here because older pip does not find it as an extra of pymilvus
    "milvus": ["pymilvus>=3.0,<3.1", "milvus-lite==3.2.2"],
    "timm": ["timm>=1.0.9"],  # MODEL.TIMM: more backbones
    "export": ["onnx>=1.16", "onnxruntime>=1.17", "onnxscript>=0.1"],
}
TEST = [
    "pytest>=7.4",
    "pytest-xdist>=3.5",
    "ruff>=0.6",
    "playwright>=1.45",
    "httpx2>=2.0",  # client of Starlette's tests
    "mypy>=2.0",
    "scipy>=1.10",
    "scipy-stubs",
    "types-python-dateutil",
    "types-tabulate",
    "types-tqdm",
]
COMMANDS = {
    "clsa-train": "train_net",
    "clsa-eval": "eval_search",
    "clsa-search": "search_gallery",
    "clsa-convert-weights": "convert_weights",
    "clsa-check-dataset": "check_dataset",
    "clsa-import-mot": "import_mot",
    "clsa-export": "export_model",
}


def read_version() -> str:
    """Return the version that clsa_search/__init__.py states."""
    lines = (ROOT / "clsa_search" / "__init__.py").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("__version__")).split('"')[1]


setup(
    name="clsa_search",
    version=read_version(),
    description="End-to-end person search with Detectron2: CLSA multi-scale matching and beyond",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The clsa_search authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords="person search, person re-identification, pedestrian detection, detectron2, CLSA",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    packages=[*find_packages(include=["clsa_search", "clsa_search.*"]), "clsa_search.configs"],
    # the configs stay at the top of a checkout and are installed inside the package
    package_dir={"clsa_search.configs": "configs"},
    package_data={
        "clsa_search": ["py.typed"],
        "clsa_search.configs": ["*.yaml"],
        "clsa_search.retrieval": ["*.html"],
        "clsa_search.desk": ["*.html", "static/*"],
    },
    entry_points={
        "console_scripts": [
            f"{command} = clsa_search.commands.{module}:main"
            for command, module in COMMANDS.items()
        ],
    },
    python_requires=">=3.10",
    # Detectron2 is not on the package index: tools/install_detectron2.py installs it.
    install_requires=[
        "torch>=2.4",
        "torchvision>=0.19",
        "numpy>=1.24",
        "fvcore>=0.1.5,<0.2",
        "iopath>=0.1.7,<0.1.10",
        "pycocotools>=2.0.6",
        # opencv-python serves as well; pip cannot express "either", so the headless one is named
        "opencv-python-headless>=4.7",
        "matplotlib>=3.7",
        "Pillow>=9.4",
        "python-dateutil>=2.8",
        "Jinja2>=3.1",
        "tabulate>=0.9",
        "tqdm>=4.64",
        # imports of Detectron2's Python files
        "yacs>=0.1.8",
        "omegaconf>=2.1",
        "hydra-core>=1.1",
        "cloudpickle",
        "termcolor>=1.1",
        "packaging",
        "tensorboard>=2.12",
    ],
    extras_require={**EXTRAS, "test": [*TEST, *chain(*EXTRAS.values())]},
)
