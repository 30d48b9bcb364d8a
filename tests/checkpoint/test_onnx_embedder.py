"""ONNX files as embedders: presets, own values, the file in the model."""

import pytest

from clsa_search.checkpoint.onnx_presets import ONNX_EMBEDDERS
from clsa_search.checkpoint.presets import EMBEDDERS, EmbedderOptions
from clsa_search.checkpoint.reid_layouts import read_embedder
from clsa_search.errors import InputError
from clsa_search.modeling.onnx_branch import hash_onnx
from tests.support.onnx_files import CROP, WIDTH, write_onnx

pytest.importorskip("onnxruntime")
OWN = EmbedderOptions(crop_size=CROP, mean=[1, 2, 3], std=[4, 5, 6], format="BGR")


@pytest.mark.parametrize("name", ONNX_EMBEDDERS)
def test_presets_say_how_crops_enter(name, tmp_path):
    preset = ONNX_EMBEDDERS[name]
    path = write_onnx(tmp_path / "a.onnx", crop=preset.crop_size)
    embedder = read_embedder(str(path), EmbedderOptions(preset=name))
    assert embedder.name == preset.title
    assert embedder.config["MODEL.REID.CROP_SIZE"] == list(preset.crop_size)
    assert embedder.config["MODEL.REID.INPUT.FORMAT"] == preset.format
    assert embedder.config["MODEL.REID.INPUT.PIXEL_MEAN"] == list(preset.mean)
    assert embedder.config["MODEL.REID.HEAD.EMBED_DIM"] == WIDTH
    assert embedder.files == {".onnx": path.read_bytes()}
    sha256 = embedder.tensors["reid_branch.sha256"]
    assert sha256.tolist() == hash_onnx(path.read_bytes()).tolist()
    assert bytes(sha256.tolist()).hex() in embedder.report[-1]


def test_own_values_serve_without_a_preset(tmp_path):
    path = str(write_onnx(tmp_path / "a.onnx", batch=1))
    config = read_embedder(path, OWN).config
    assert config["MODEL.REID.CROP_SIZE"] == list(CROP)
    assert config["MODEL.REID.INPUT.PIXEL_STD"] == [4, 5, 6]
    assert config["MODEL.REID.INPUT.FORMAT"] == "BGR"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (EmbedderOptions(), "does not say how crops enter it; expected --reid-preset osnet or"),
        (EmbedderOptions(crop_size=CROP), "does not say how crops enter it"),
        (EmbedderOptions(preset="torchreid"), "--reid-preset is torchreid, but the file is an"),
        (EmbedderOptions(preset="osnet"), "takes crops of 32 x 16 pixels; expected 256 x 128"),
    ],
)
def test_wrong_options_are_named(options, expected, tmp_path):
    path = write_onnx(tmp_path / "a.onnx")
    with pytest.raises(InputError) as error:
        read_embedder(str(path), options)
    assert str(error.value).startswith(f"{path}: ") and expected in str(error.value)


def test_names_of_presets_are_unique():
    assert not set(EMBEDDERS) & set(ONNX_EMBEDDERS)
