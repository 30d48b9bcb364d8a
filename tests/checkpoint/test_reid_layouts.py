"""Complete public re-ID networks: equal embeddings, presets, and refused files."""

import pytest
import torch
from torch import nn

from clsa_search.checkpoint import convert_weights
from clsa_search.checkpoint.presets import EMBEDDERS, EmbedderOptions
from clsa_search.checkpoint.reid_layouts import read_embedder
from clsa_search.engine import load_config
from clsa_search.modeling.optimize import optimize_for_inference
from tests.support.public_reid import Torchreid, embed, randomize
from tests.support.reid_networks import (
    CONFIG_FILE,
    DETECTORS,
    NETWORKS,
    build,
    make,
    model_embeddings,
    save,
)
from tests.support.tiny import ROOT, TINY_MODEL


@pytest.mark.parametrize("name", NETWORKS)
def test_embeddings_are_those_of_the_public_network(tmp_path, name):
    network, preset = make(name)
    embedder = read_embedder(
        save(network, tmp_path), EmbedderOptions(preset=preset, crop_size=(64, 32))
    )
    assert EMBEDDERS[name.split()[0]].title in embedder.name
    crops = torch.randint(0, 256, (3, 3, 64, 32)).float()
    expected = embed(network, crops)
    assert (expected @ expected.T).fill_diagonal_(0).max() < 0.99999  # crops differ
    for opts in DETECTORS.values():
        model, cfg = build(embedder, *opts)
        torch.testing.assert_close(model_embeddings(model, cfg, crops), expected, rtol=0, atol=1e-5)
        assert model_embeddings(model, cfg, crops[:0]).shape == (0, expected.shape[1])
        optimize_for_inference(model)
        assert model_embeddings(model, cfg, crops[:0]).shape == (0, expected.shape[1])
        torch.testing.assert_close(model_embeddings(model, cfg, crops), expected, rtol=0, atol=1e-5)


def test_another_preset_stem_or_stride_gives_other_embeddings(tmp_path):
    network, _ = make("transreid")
    path, crops = save(network, tmp_path), torch.randint(0, 256, (3, 3, 64, 32)).float()
    expected = embed(network, crops)
    for preset, stride in (("transreid", 2), ("strong-baseline", 1), ("solider", 1)):
        options = EmbedderOptions(preset=preset, crop_size=(64, 32), last_stride=stride)
        actual = model_embeddings(*build(read_embedder(path, options)), crops)
        assert (actual - expected).abs().max() > 1e-3


def test_presets_fix_what_a_file_does_not_say_and_options_change_it(tmp_path):
    network, _ = make("fastreid-sbs")
    path = save(network, tmp_path)
    embedder = read_embedder(path)
    assert embedder.config["MODEL.REID.CROP_SIZE"] == [384, 128]
    assert embedder.config["MODEL.REID.BACKBONE.LAST_STRIDE"] == 1
    assert any("--crop-size" in line for line in embedder.report)
    changed = read_embedder(path, EmbedderOptions(crop_size=(64, 32), last_stride=2))
    assert changed.config["MODEL.REID.CROP_SIZE"] == [64, 32]
    assert changed.config["MODEL.REID.BACKBONE.LAST_STRIDE"] == 2


def test_statistics_of_the_pixels_in_the_file_come_first(tmp_path):
    network, _ = make("fastreid-bot")
    statistics = {
        "pixel_mean": torch.full((1, 3, 1, 1), 120.0),
        "pixel_std": torch.ones(1, 3, 1, 1),
    }
    embedder = read_embedder(save(network, tmp_path, **statistics))
    assert embedder.config["MODEL.REID.INPUT.PIXEL_MEAN"] == [120.0] * 3
    assert embedder.config["MODEL.REID.INPUT.PIXEL_STD"] == [1.0] * 3

    options = EmbedderOptions(mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), format="BGR")
    chosen = read_embedder(embedder.path, options).config
    assert [chosen[f"MODEL.REID.INPUT.{key}"] for key in ("FORMAT", "PIXEL_MEAN", "PIXEL_STD")] == [
        *("BGR", [1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    ]


def test_an_embedding_before_the_neck_is_asked_for_by_name(tmp_path):
    network, _ = make("fastreid-bot")
    embedder = read_embedder(
        save(network, tmp_path), EmbedderOptions(crop_size=(64, 32), before_neck=True)
    )
    assert any("heads.bottleneck.0.weight" in line for line in embedder.report)
    network.heads.bottleneck = nn.Identity()
    crops = torch.randint(0, 256, (2, 3, 64, 32)).float()
    model, cfg = build(embedder)
    torch.testing.assert_close(
        model_embeddings(model, cfg, crops), embed(network, crops), rtol=0, atol=1e-5
    )


def test_a_file_without_its_neck_keeps_the_stride_of_its_project(tmp_path):
    network, _ = make("torchreid-fc512")
    path, crops = save(network, tmp_path), torch.randint(0, 256, (2, 3, 64, 32)).float()
    network.fc = None
    for left_out in ({"before_neck": True}, {"drop": ["fc."]}):
        embedder = read_embedder(path, EmbedderOptions(crop_size=(64, 32), **left_out))
        torch.testing.assert_close(
            model_embeddings(*build(embedder), crops), embed(network, crops), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("name", ["fastreid-bot", "fastreid-sbs ibn", "strong-baseline"])
def test_complete_networks_fill_the_backbones_for_training(tmp_path, name):
    network, _ = make(name)
    options = NETWORKS[name][1]
    narrow = {"WIDTH_PER_GROUP": "4", "STEM_OUT_CHANNELS": "64", "RES2_OUT_CHANNELS": "256"}
    opts = [*TINY_MODEL, "MODEL.REID.BACKBONE.NAME", "build_reid_resnet_backbone"]
    opts += ["MODEL.REID.BACKBONE.IBN", str(options.get("ibn", False))]
    if "non_local" in options:
        opts += ["MODEL.REID.BACKBONE.NON_LOCAL", "[0, 2, 3, 0]"]
    for key, value in {**narrow, "STRIDE_IN_1X1": "False"}.items():
        opts += [f"MODEL.RESNETS.{key}", value, f"MODEL.REID.BACKBONE.RESNETS.{key}", value]
    plain = tmp_path / "plain"
    plain.mkdir()
    torch.manual_seed(1)
    imagenet = save(randomize(Torchreid()), plain)
    cfg = load_config(CONFIG_FILE, [*opts, "MODEL.RESNETS.NORM", "BN"])
    converted = convert_weights(cfg, imagenet, reid_source=save(network, tmp_path))
    assert [len(x.tensors) == x.expected for x in converted] == [True, True]
    resnet = network.backbone if hasattr(network, "backbone") else network.base
    weight = resnet.layer3[5].conv2.weight
    assert torch.equal(converted[1].tensors["res4.5.conv2.weight"], weight)


def test_the_documentation_has_every_preset():
    table = (ROOT / "docs" / "weights.md").read_text()
    for name, preset in EMBEDDERS.items():
        row = next(line for line in table.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"| {preset.crop_size[0]} x {preset.crop_size[1]} |" in row
        assert row.endswith(f"| {preset.license} |")
