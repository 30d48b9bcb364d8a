"""Re-ID checkpoints that are refused, each with what would be right."""

import pytest
import torch
from torch import nn

from clsa_search.checkpoint.presets import EmbedderOptions
from clsa_search.checkpoint.reid_layouts import read_embedder
from clsa_search.checkpoint.search_model import join_search_model
from clsa_search.errors import InputError
from tests.support.public_reid import FastReID
from tests.support.reid_networks import make, save


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"before_neck": True}, "has no neck; leave out --before-neck"),
        ({"drop": ["attention"]}, "has no tensor of --reid-drop attention"),
        ({"output": "embedding"}, "--reid-output is for ONNX files"),
    ],
)
def test_options_without_effect_are_refused(tmp_path, options, message):
    path = save(make("torchreid")[0], tmp_path)
    with pytest.raises(InputError, match=message):
        read_embedder(path, EmbedderOptions(**options))


def test_parts_without_a_place_need_an_option(tmp_path):
    network, _ = make("torchreid")
    path = save(network, tmp_path, **{"attention.weight": torch.ones(3)})
    with pytest.raises(InputError, match=r"'attention.weight' is no part .* --reid-drop attention"):
        read_embedder(path)
    embedder = read_embedder(path, EmbedderOptions(drop=["attention"]))
    assert any("attention.weight" in line for line in embedder.report)


def test_networks_that_look_alike_need_a_preset(tmp_path):
    network, _ = make("transreid")
    path = save(network, tmp_path)
    with pytest.raises(InputError, match="--reid-preset strong-baseline or transreid or solider"):
        read_embedder(path)
    with pytest.raises(InputError, match="--reid-preset is fastreid-bot; expected strong-baseline"):
        read_embedder(path, EmbedderOptions(preset="fastreid-bot"))
    network, _ = make("fastreid-sbs 0.1.1")
    with pytest.raises(InputError, match="--reid-preset fastreid-agw or fastreid-sbs$"):
        read_embedder(save(network, tmp_path))


@pytest.mark.parametrize(
    ("name", "preset", "expected"),
    [
        ("fastreid-agw", "fastreid-bot", "fastreid-agw,"),
        ("fastreid-sbs", "fastreid-bot", "fastreid-agw or fastreid-sbs,"),
        ("fastreid-bot", "fastreid-sbs", "fastreid-bot or fastreid-agw,"),
        ("torchreid", "torchreid-fc512", "torchreid,"),
        ("torchreid-fc512", "torchreid", "torchreid-fc512,"),
        ("torchreid", "osnet", "torchreid,"),
    ],
)
def test_a_preset_that_the_tensors_contradict_is_refused(tmp_path, name, preset, expected):
    path = save(make(name)[0], tmp_path)
    with pytest.raises(InputError, match=f"--reid-preset is {preset}; expected {expected}"):
        read_embedder(path, EmbedderOptions(preset=preset))


def test_a_detector_is_no_embedder(tmp_path):
    path = str(tmp_path / "detector.pth")
    names = ["backbone.body.layer1.0.conv1.weight", "roi_heads.box_predictor.cls_score.weight"]
    torch.save(dict.fromkeys(names, torch.ones(1)), path)
    with pytest.raises(InputError, match="finds people; expected it after --detector or --search"):
        read_embedder(path)


def test_a_resnet_of_imagenet_is_no_embedder(tmp_path):
    network, _ = make("torchreid")
    del network.classifier
    network.fc = nn.Linear(2048, 3)
    path = save(network, tmp_path)
    with pytest.raises(InputError, match="such as ImageNet's"):
        read_embedder(path)
    with pytest.raises(InputError, match="--reid-drop fc"):
        read_embedder(path, EmbedderOptions(preset="torchreid"))


def test_a_learned_pool_without_non_local_blocks_needs_a_preset(tmp_path):
    network = FastReID(gem=3.0, learned=True)
    path = save(network, tmp_path)
    with pytest.raises(InputError, match="--reid-preset fastreid-bot or fastreid-agw or"):
        read_embedder(path)
    assert read_embedder(path, EmbedderOptions(preset="fastreid-sbs")).tensors


@pytest.mark.parametrize(
    ("name", "tensor", "network"),
    [
        ("conv2.0.conv2a.0.conv1.weight", (8, 8, 1, 1), "OSNet"),
        ("base.layers.0.blocks.0.norm1.weight", (8,), "Swin"),
        ("base.blocks.0.attn.qkv.weight", (8, 8), "ViT"),
        ("image_encoder.conv1.weight", (8, 3, 4, 4), "CLIP"),
        ("b1_head.bottleneck.0.weight", (8, 8, 1, 1), "MGN"),
    ],
)
def test_other_networks_are_sent_to_onnx(tmp_path, name, tensor, network):
    torch.save({name: torch.rand(tensor)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=f"{network}.*--reid osnet.onnx"):
        read_embedder(str(tmp_path / "other.pth"))


@pytest.mark.parametrize("change", ["missing", "shape"])
def test_incomplete_networks_are_refused(tmp_path, change):
    network, _ = make("fastreid-bot")
    tensors = dict(network.state_dict())
    value = tensors.pop("backbone.layer3.1.conv2.weight")
    if change == "shape":
        tensors["backbone.layer3.1.conv2.weight"] = value[:, :-1]
    torch.save(tensors, tmp_path / "broken.pth")
    with pytest.raises(InputError, match=r"res4\.1\.conv2\.weight (is missing|has shape)"):
        join_search_model([read_embedder(str(tmp_path / "broken.pth"))])
