"""Pickled ResNets of Caffe2 and MSRA fill both backbones."""

import pickle

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from clsa_search.checkpoint import (
    PersonSearchCheckpointer,
    convert_weights,
)
from clsa_search.engine import load_config
from tests.support.resnet_conversion import (
    COMMAND,
    RESNETS,
    assert_same_features,
    backbone_features,
    caffe2_names,
    config,
    fold_norms,
    load,
    randomize_norms,
)


@pytest.mark.parametrize("folded", [True, False])
def test_pickles_of_caffe2_fill_both_backbones(tmp_path, folded):
    cfg = config(stride_in_1x1=True, norm="FrozenBN" if folded else "BN")
    backbone = randomize_norms(build_model(cfg).eval().backbone.bottom_up)
    if folded:
        fold_norms(backbone)
    blobs = caffe2_names(backbone.state_dict(), folded=folded)
    assert {"conv1_w", "res_conv1_bn_b", "res2_0_branch1_w", "res5_2_branch2c_bn_b"} <= set(blobs)
    blobs |= {"fc1000_w": np.ones((3, 8), np.float32), "conv1_w_momentum": blobs["conv1_w"]}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    converted = convert_weights(cfg, str(tmp_path / "R-50.pkl"))
    assert [f.unused for f in converted] == [["fc1000_w"]] * 2
    model = load(cfg, converted, tmp_path)
    image = torch.randint(0, 256, (3, 64, 64)).float()
    with torch.no_grad():
        expected = backbone(model.preprocess_image([{"image": image}]).tensor)["res5"]
    assert_same_features(backbone_features(model, image), expected)


MSRA = [
    *("MODEL.RESNETS.STRIDE_IN_1X1", "True", "MODEL.REID.BACKBONE.RESNETS.STRIDE_IN_1X1", "True"),
    *("MODEL.REID.BACKBONE.RESNETS.NORM", "FrozenBN"),
]
"""Config overrides of docs/training.md for MSRA's R-50.pkl."""


def test_the_pickle_of_msra_is_converted_as_the_docs_say(tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.chdir(tmp_path)  # the default config is found by name from anywhere
    backbone = randomize_norms(build_model(config(stride_in_1x1=True)).backbone.bottom_up)
    fold_norms(backbone)
    blobs = caffe2_names(backbone.state_dict(), folded=True)
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(blobs, protocol=2))
    output = str(tmp_path / "r50_msra.pth")
    opts = [*MSRA, *(w for key in RESNETS for w in (f"{key}.WIDTH_PER_GROUP", "4"))]
    COMMAND["main"]([str(tmp_path / "R-50.pkl"), output, *opts])
    assert capsys.readouterr().out.count("265 / 265") == 2
    cfg = load_config(COMMAND["CONFIG"], ["MODEL.DEVICE", "cpu", *opts])
    model = build_model(cfg).eval()
    PersonSearchCheckpointer(model).load_weights(output)
    assert "START AT RANDOM" not in caplog.text
    image = torch.randint(0, 256, (3, 64, 64)).float()  # BGR, as MSRA trained with
    with torch.no_grad():
        expected = backbone(image[None] - torch.tensor([103.53, 116.28, 123.675]).view(3, 1, 1))
    assert_same_features(backbone_features(model, image.flip(0)), expected["res5"])
