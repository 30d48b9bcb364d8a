"""Models with ConvNeXt and Swin export like those with ResNets: the exporter compares them."""

import pytest

from clsa_search.export import export_model, formats
from tests.support.export_cases import save_trained
from tests.support.staged_backbones import staged_opts


@pytest.fixture(scope="module", params=["convnext", "swin"])
def weights(request, tmp_path_factory):
    return save_trained(tmp_path_factory.mktemp(request.param), staged_opts(request.param))


@pytest.mark.parametrize(("what", "count"), [("reid", 8), ("model", 3)])
def test_torchscript_gives_the_results_of_the_model(weights, tmp_path, what, count):
    report = export_model(weights, tmp_path / "a.pt", what=what, file_format="torchscript")
    assert report.path.is_file() and report.difference < 1e-4
    assert report.embeddings >= count  # of no crop, one, two and five; of images of three sizes


def test_onnx_gives_the_results_of_the_model(weights, tmp_path):
    for package in formats.ONNX_PACKAGES:
        pytest.importorskip(package)
    report = export_model(weights, tmp_path / "a.onnx", what="reid", file_format="onnx")
    assert report.embeddings == 8 and report.difference < 1e-4
