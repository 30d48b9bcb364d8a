"""Impossible exports are refused with the reason, and files are checked before they are kept."""

import subprocess
import sys

import pytest
import torch
from PIL import Image

from clsa_search.errors import InputError
from clsa_search.export import exporter, formats
from clsa_search.export.exporter import compare, export_model
from tests.support.export_cases import BRANCHES, save_trained
from tests.support.model_inputs import random_image
from tests.support.tiny import ROOT


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return {
        name: save_trained(tmp_path_factory.mktemp(name), opts) for name, opts in BRANCHES.items()
    }


@pytest.fixture
def weights(checkpoints):
    return checkpoints["CropBranch"]


@pytest.mark.parametrize(
    ("branch", "request_", "message"),
    [
        ("SharedBranch", {"what": "reid"}, "MODEL.REID.NAME is 'SharedBranch'.* no crops"),
        ("CropBranch", {"what": "model", "file_format": "onnx"}, "whole model is not exported to"),
        ("CropBranch", {"what": "heads"}, "what is 'heads'; expected one of reid, model"),
        ("CropBranch", {"file_format": "caffe2"}, "format is 'caffe2'; expected one of torchs"),
        (
            "CropBranch",
            {"images": ["a.jpg"]},
            "a.jpg: the re-ID branch takes no images; .* whole model",
        ),
        ("CropBranch", {"what": "model", "images": ["no.jpg"]}, "no.jpg"),
        ("CropBranch", {"path": "."}, "is a folder"),
        ("CropBranch", {"path": "taken/reid.pt"}, "taken/reid.pt: cannot be written"),
        ("CropBranch", {"weights": "no.pth"}, "no.pth"),
    ],
)
def test_impossible_exports_are_refused_with_the_reason(
    branch, request_, message, checkpoints, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").touch()
    arguments = {
        **{"weights": checkpoints[branch], "path": "out.pt", "what": "reid"},
        **{"file_format": "torchscript"},
    }
    with pytest.raises(InputError, match=message):
        export_model(**arguments | request_)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_missing_package_is_named(weights, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match="needs the package onnx"):
        export_model(weights, tmp_path / "out.onnx", what="reid", file_format="onnx")


def test_a_file_that_differs_from_the_model_is_not_written(weights, tmp_path, monkeypatch):
    def load_noisily(data):
        exported = formats.load_torchscript(data)
        return lambda crops: exported(crops) + 0.01

    monkeypatch.setitem(exporter.FORMATS, "torchscript", (formats.to_torchscript, load_noisily))
    with pytest.raises(RuntimeError, match=r"results differ from the eager model by 0\.01"):
        export_model(weights, tmp_path / "out.pt", what="reid", file_format="torchscript")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("eager", "exported", "count", "difference"),
    [
        ([[1.0, 0.0]], [[1.0, 0.25]], 1, 0.25),
        ([[100.0], [2.0]], [[101.0], [2.01]], 2, 0.01),  # relative beyond 1
        ([[1.0]], [[1.0], [1.0]], 1, float("inf")),
        ([[1.0]], [[float("nan")]], 1, float("inf")),
        ([], [], 0, 0),
    ],
)
def test_the_largest_difference_counts(eager, exported, count, difference):
    eager, exported = torch.tensor(eager), torch.tensor(exported)
    same = torch.ones(1)
    both = compare(lambda x: (eager, same), lambda x: (exported, same), [None])
    assert both == (count, pytest.approx(difference))
    alone = compare(lambda x: eager, lambda x: exported, [None, None])
    assert alone == (2 * count, pytest.approx(difference))


def test_the_command_describes_the_file(weights, tmp_path):
    Image.fromarray(random_image(2, (80, 120)).permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    command = [
        *(sys.executable, str(ROOT / "tools" / "export_model.py"), "--weights", str(weights)),
        *("--what", "model", "--format", "torchscript", "--images", "a.png"),
        *("--output", "made/model.pt", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("made/model.pt, ") and "  channel_order: BGR" in lines
    words = lines[-1].split()
    assert lines[-1].startswith("largest difference from the eager model: ")
    assert lines[-1].endswith(" in 4 inputs") and int(words[words.index("embeddings") - 1]) > 0
    assert torch.jit.load(tmp_path / "made" / "model.pt")(random_image(0)).boxes.shape[1] == 4
