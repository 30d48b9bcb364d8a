"""Complete public re-ID networks: equal embeddings, presets, and refused files."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from clsa_search.checkpoint import convert_weights
from clsa_search.checkpoint.presets import EMBEDDERS, EmbedderOptions
from clsa_search.checkpoint.reid_layouts import read_embedder
from clsa_search.checkpoint.search_model import join_search_model
from clsa_search.engine import load_config
from clsa_search.errors import InputError
from clsa_search.export.exportable import CropEmbedder
from clsa_search.modeling.optimize import optimize_for_inference
from tests.support.public_reid import FastReID, StrongBaseline, Torchreid, embed, randomize
from tests.support.tiny import ROOT, TINY_MODEL

CONFIG_FILE = str(ROOT / "configs" / "clsa_small_synthetic_demo.yaml")
DETECTORS = {
    "BGR": [
        *("INPUT.FORMAT", "BGR", "MODEL.PIXEL_MEAN", "[103.53, 116.28, 123.675]"),
        *("MODEL.PIXEL_STD", "[1.0, 1.0, 1.0]"),
    ],
    "RGB": [
        *("INPUT.FORMAT", "RGB", "MODEL.PIXEL_MEAN", "[123.675, 116.28, 103.53]"),
        *("MODEL.PIXEL_STD", "[58.395, 57.12, 57.375]"),
    ],
    "RGB, other statistics": [
        *("INPUT.FORMAT", "RGB", "MODEL.PIXEL_MEAN", "[127.5, 127.5, 127.5]"),
        *("MODEL.PIXEL_STD", "[127.5, 127.5, 127.5]"),
    ],
}
TRANSREID = {"pool": "2x2", "relu": False}
GEM = {"gem": 2.3, "learned": True, "non_local": True}
NETWORKS = {
    "torchreid": (Torchreid, {}, None),
    "torchreid-fc512": (Torchreid, {"fc": True}, None),
    "fastreid-bot": (FastReID, {}, None),
    "fastreid-bot ibn": (FastReID, {"ibn": True}, None),
    "fastreid-bot R101": (FastReID, {"blocks": (3, 4, 23, 3)}, None),
    "fastreid-bot 0.1.1": (FastReID, {"early": True}, None),
    "fastreid-agw 0.1.1": (FastReID, {"early": True, **GEM}, "fastreid-agw"),
    "fastreid-sbs 0.1.1": (FastReID, {"early": True, **GEM}, "fastreid-sbs"),
    "fastreid-agw": (FastReID, {"gem": 3.0, "non_local": True}, None),
    "fastreid-sbs": (FastReID, GEM, None),
    "fastreid-sbs ibn": (FastReID, {**GEM, "ibn": True}, None),
    "strong-baseline": (StrongBaseline, {"pool": "padded", "relu": False}, "strong-baseline"),
    "strong-baseline ibn": (StrongBaseline, {"pool": "padded", "ibn": True}, "strong-baseline"),
    "strong-baseline no neck": (
        StrongBaseline,
        {"pool": "padded", "relu": False, "neck": False},
        "strong-baseline",
    ),
    "transreid": (StrongBaseline, TRANSREID, "transreid"),
    "solider": (StrongBaseline, {"pool": "2x2"}, "solider"),
    "solider reduced": (StrongBaseline, {"pool": "2x2", "reduced": True}, "solider"),
}


def save(network, folder, **more):
    """Write a checkpoint as training codes do: with DataParallel's prefix and NumPy's scalars."""
    tensors = {f"module.{name}": value for name, value in network.state_dict().items()}
    path = str(folder / "reid.pth.tar")
    torch.save({"state_dict": {**tensors, **more}, "rank1": np.float64(0.9), "epoch": 60}, path)
    return path


def make(name):
    torch.manual_seed(0)
    kind, options, preset = NETWORKS[name]
    return randomize(kind(**options)), preset


def build(embedder, *opts):
    """Return a model with the embedder, and its config."""
    config = [word for pair in embedder.config.items() for word in pair]
    cfg = load_config(CONFIG_FILE, [*TINY_MODEL, *map(str, config), *opts])
    model = build_model(cfg).eval()
    left = model.load_state_dict(embedder.tensors, strict=False)
    assert not left.unexpected_keys
    reid = ("reid_branch.", "reid_heads.")
    missing = [name for name in left.missing_keys if name.startswith(reid)]
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return model, cfg


@torch.no_grad()
def model_embeddings(model, cfg, crops):
    """Return the model's embeddings of RGB crops."""
    crops = crops if cfg.INPUT.FORMAT == "RGB" else crops.flip(1)
    return CropEmbedder.from_model(model, cfg)(crops)


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


def test_a_file_without_its_neck_keeps_the_stride_of_its_project(tmp_path):
    network, _ = make("torchreid-fc512")
    path, crops = save(network, tmp_path), torch.randint(0, 256, (2, 3, 64, 32)).float()
    network.fc = None
    for left_out in ({"before_neck": True}, {"drop": ["fc."]}):
        embedder = read_embedder(path, EmbedderOptions(crop_size=(64, 32), **left_out))
        torch.testing.assert_close(
            model_embeddings(*build(embedder), crops), embed(network, crops), rtol=0, atol=1e-5
        )


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
