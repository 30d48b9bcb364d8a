"""Conversion of pretrained ResNets: equal features, full names, and refused files."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torchvision
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model

from clsa_search.checkpoint import (
    PersonSearchCheckpointer,
    convert_weights,
    read_checkpoint,
    save_weights,
)
from clsa_search.engine import load_config
from clsa_search.errors import InputError
from tests.support.tiny import ROOT, TINY_MODEL, load_tool

BACKBONES = ("backbone.bottom_up", "reid_branch.backbone")
RESNETS = ("MODEL.RESNETS", "MODEL.REID.BACKBONE.RESNETS")
SHARED = [
    *("MODEL.REID.NAME", "SharedBranch", "MODEL.REID.LEVELS", "['res4', 'res5']"),
]
COMMAND = vars(load_tool("convert_weights"))
CONFIG_FILE = str(ROOT / "configs" / "clsa_small_synthetic_demo.yaml")


def options(stride_in_1x1=False, norm="BN", **values):
    """Return KEY VALUE pairs of a model with two narrow ResNet-50."""
    both = {"DEPTH": "50", "WIDTH_PER_GROUP": "4", "STEM_OUT_CHANNELS": "64"}
    both |= {"RES2_OUT_CHANNELS": "256", "STRIDE_IN_1X1": str(stride_in_1x1), "NORM": norm}
    both |= values
    return [
        *TINY_MODEL,
        *(w for key in RESNETS for k, v in both.items() for w in (f"{key}.{k}", v)),
    ]


def config(*opts, **values):
    return load_config(CONFIG_FILE, [*options(**values), *opts])


@torch.no_grad()
def randomize_norms(network):
    for name, value in [*network.named_parameters(), *network.named_buffers()]:
        if value.dim() == 1 and value.is_floating_point():
            low, high = (0.5, 1.5) if name.endswith(("weight", "running_var")) else (-0.2, 0.2)
            value.uniform_(low, high)
    return network.eval()


def fold_norms(network):
    """Make the norms scale and shift only."""
    for norm in (m for m in network.modules() if hasattr(m, "running_var")):
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)


@pytest.fixture(scope="module")
def resnet():
    """torchvision's ResNet-50, 4 instead of 64 wide within its blocks."""
    torch.manual_seed(0)
    return randomize_norms(torchvision.models.resnet50(weights=None, width_per_group=4))


@pytest.fixture
def resnet_file(resnet, tmp_path):
    torch.save(resnet.state_dict(), tmp_path / "resnet.pth")
    return str(tmp_path / "resnet.pth")


def load(cfg, converted, folder):
    """Return a new model with the converted weights, loaded by Detectron2's own checkpointer."""
    save_weights(converted, str(folder / "out" / "converted.pth"))
    assert set(torch.load(folder / "out" / "converted.pth")) == {"model"}  # no heuristics
    model = build_model(cfg).eval()
    missing = DetectionCheckpointer(model).load(str(folder / "out" / "converted.pth"))
    assert not missing  # the rest of the checkpoint
    return model


@torch.no_grad()
def backbone_features(model, image):
    """Return res5 of both backbones for an image (3, H, W) in the config's channel order."""
    images = model.preprocess_image([{"image": image}])
    return [model.get_submodule(backbone)(images.tensor)["res5"] for backbone in BACKBONES]


def assert_same_features(actual, expected):
    atol = 1e-4 * float(expected.abs().max())
    for features in actual:
        torch.testing.assert_close(features, expected, rtol=0, atol=atol)


@pytest.mark.parametrize(
    ("channels", "mean", "std"),
    [
        ("BGR", "[103.53, 116.28, 123.675]", "[1.0, 1.0, 1.0]"),  # Detectron2's defaults
        ("RGB", "[123.675, 116.28, 103.53]", "[58.395, 57.12, 57.375]"),
    ],
)
def test_both_backbones_compute_the_features_of_torchvision(
    resnet, resnet_file, tmp_path, channels, mean, std
):
    cfg = config("INPUT.FORMAT", channels, "MODEL.PIXEL_MEAN", mean, "MODEL.PIXEL_STD", std)
    converted = convert_weights(cfg, resnet_file)
    assert [(f.backbone, len(f.tensors) == f.expected, f.adapted) for f in converted] == [
        (backbone, True, channels == "BGR") for backbone in BACKBONES
    ]
    assert [f.unused for f in converted] == [["fc.weight", "fc.bias"]] * 2
    image = torch.randint(0, 256, (3, 64, 64)).float()  # RGB
    normalized = torchvision.transforms.functional.normalize(
        image / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    with torch.no_grad():
        expected = torch.nn.Sequential(*[*resnet.children()][:-2])(normalized[None])
    model = load(cfg, converted, tmp_path)
    actual = backbone_features(model, image if channels == "RGB" else image.flip(0))
    assert_same_features(actual, expected)


def test_a_last_stride_of_1_takes_the_same_weights(resnet_file, tmp_path):
    opts = ["MODEL.REID.BACKBONE.NAME", "build_reid_resnet_backbone"]
    opts += ["MODEL.REID.BACKBONE.LAST_STRIDE", "1", "MODEL.REID.AUGMENT.BLUR", "0.5"]
    cfg = config(*opts)
    converted = convert_weights(cfg, resnet_file)
    assert all(len(x.tensors) == x.expected for x in converted)
    model = load(cfg, converted, tmp_path)
    detector, reid = backbone_features(model, torch.zeros(3, 64, 64))
    assert detector.shape[-2:] == (2, 2) and reid.shape[-2:] == (4, 4)
    first, second = (model.get_submodule(name).state_dict() for name in BACKBONES)
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def caffe2_names(state, *, folded):
    """Return a backbone's tensors as arrays, with the names of Caffe2's model zoo."""
    words = [(".conv1.", ".branch2a."), (".conv2.", ".branch2b."), (".conv3.", ".branch2c.")]
    words += [("stem.branch2a.norm", "res.conv1.bn"), ("stem.branch2a", "conv1")]
    words += [(".shortcut.", ".branch1."), (".norm.", ".bn."), ("bn.bias", "bn.b")]
    words += [("bn.weight", "bn.s" if folded else "bn.gamma"), ("weight", "w"), (".", "_")]
    blobs = {}
    for name, value in state.items():
        if not (folded and "running" in name) and "batches" not in name:
            for old, new in words:
                name = name.replace(old, new)
            blobs[name] = value.numpy()
    return blobs


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


def detectron2_names(backbone):
    return {name: tensor.numpy() for name, tensor in backbone.tensors.items()}


def test_wrapped_checkpoints_give_the_same_tensors(resnet, resnet_file, tmp_path):
    cfg = config("MODEL.PIXEL_STD", "[57.375, 57.12, 58.395]")
    plain, _ = convert_weights(cfg, resnet_file)
    state = resnet.state_dict()
    reid = {
        "epoch": 60,
        "rank1": np.float64(0.9),
        "state_dict": OrderedDict((f"module.base.{k}", v.half()) for k, v in state.items()),
    }
    reid["state_dict"]["module.classifier.weight"] = torch.ones(3, 4)
    torch.save(reid, tmp_path / "reid.pth.tar")
    signed = {"model": detectron2_names(plain), "__author__": "torchvision"}
    first = signed["model"]["stem.conv1.weight"][:, ::-1]  # the file is for RGB
    signed["model"]["stem.conv1.weight"] = np.ascontiguousarray(first)
    (tmp_path / "signed.pkl").write_bytes(pickle.dumps(signed | {"matching_heuristics": True}))
    own = {f"{t}.{k}": v + (t == BACKBONES[1]) for t in BACKBONES for k, v in plain.tensors.items()}
    torch.save({"model": own, "iteration": 9}, tmp_path / "own.pth")

    detector, branch = convert_weights(
        cfg, str(tmp_path / "signed.pkl"), reid_source=str(tmp_path / "reid.pth.tar")
    )
    assert (detector.convention, branch.convention) == ("torchvision", "torchvision")
    assert branch.unused[0] == "module.classifier.weight"
    assert branch.unused[1:] == ["module.base.fc.weight", "module.base.fc.bias"]
    both = convert_weights(cfg, str(tmp_path / "own.pth"), convention="config")
    for name, tensor in plain.tensors.items():
        torch.testing.assert_close(detector.tensors[name], tensor)
        torch.testing.assert_close(branch.tensors[name], tensor, rtol=1e-3, atol=1e-4)  # halves
        assert torch.equal(both[0].tensors[name], tensor)
        assert torch.equal(both[1].tensors[name], tensor + 1)


@pytest.mark.parametrize(
    ("opts", "options_", "arguments", "message"),
    [
        ([], {"stride_in_1x1": True}, {}, "MODEL.RESNETS.STRIDE_IN_1X1 False, not True"),
        ([], {"norm": ""}, {}, "MODEL.RESNETS.NORM 'BN', not ''"),
        ([], {}, {"convention": "msra"}, "MODEL.RESNETS.STRIDE_IN_1X1 True, not False"),
        (["MODEL.PIXEL_MEAN", "[127.5, 127.5, 127.5]"], {}, {}, "MODEL.PIXEL_MEAN [103.53, 116.28"),
        (["INPUT.FORMAT", "L"], {}, {}, "INPUT.FORMAT is 'L'; expected one of 'RGB'"),
        ([], {"DEPTH": "101"}, {}, "fills 265 of the 520 tensors of backbone.bottom_up: res4.6"),
        (
            [],
            {"STEM_OUT_CHANNELS": "8"},
            {"reid_source": "no.pth"},
            "(64, 3, 7, 7) for (8, 3, 7, 7)",
        ),
        ([], {}, {"reid_source": "no.pth"}, "'no.pth' does not exist"),
        (SHARED, {}, {"reid_source": "x.pth"}, "SharedBranch, which has no backbone for x.pth"),
    ],
)
def test_a_resnet_that_does_not_fit_the_config_is_refused(
    resnet_file, opts, options_, arguments, message
):
    with pytest.raises(InputError) as error:
        convert_weights(config(*opts, **options_), resnet_file, **arguments)
    assert message in str(error.value)


def test_partial_conversion_needs_at_least_one_tensor(resnet_file, tmp_path):
    cfg = config(DEPTH="101")
    detector, _ = convert_weights(cfg, resnet_file, partial=True)
    assert len(detector.tensors) + len(detector.missing) == detector.expected
    assert {name.rsplit(".", 3)[0] for name in detector.missing} >= {"res4.6", "res4.22"}
    wide = {"layer1.0.conv1.weight": torch.ones(7, 7, 1, 1)}
    torch.save(wide, tmp_path / "wide.pth")
    with pytest.raises(InputError, match="fills 0 of the"):
        convert_weights(cfg, str(tmp_path / "wide.pth"), partial=True)


def test_a_shared_backbone_is_filled_once(resnet_file):
    (detector,) = convert_weights(config(*SHARED), resnet_file)
    assert detector.backbone == BACKBONES[0] and len(detector.tensors) == detector.expected


def test_folded_norms_are_refused_where_norms_train(tmp_path):
    cfg = config(stride_in_1x1=True)
    backbone = randomize_norms(build_model(cfg).backbone.bottom_up)
    blobs = caffe2_names(backbone.state_dict(), folded=True)
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(blobs))
    with pytest.raises(InputError, match="NORM 'FrozenBN', not 'BN'"):
        convert_weights(cfg, str(tmp_path / "R-50.pkl"))


def test_files_without_a_resnet_or_with_several_are_refused(resnet_file, resnet, tmp_path):
    torch.save({"a.weight": torch.ones(2)}, tmp_path / "none.pth")
    state = resnet.state_dict()
    torch.save(
        {f"{p}.{k}": v for p in ("net", "ema") for k, v in state.items()}, tmp_path / "2.pth"
    )
    for name, message in (
        ("none", "holds no ResNet"),
        ("2", "several backbones, under net., ema."),
    ):
        with pytest.raises(InputError, match=message):
            convert_weights(config(), str(tmp_path / f"{name}.pth"))
    with pytest.raises(InputError, match="ends in .pth"):
        save_weights([], str(tmp_path / "out.pkl"))


def test_the_command_prints_a_report(resnet_file, tmp_path, capsys):
    output = str(tmp_path / "both.pth")
    arguments = [resnet_file, output, "--config-file", CONFIG_FILE]
    COMMAND["main"]([*arguments, "--reid", resnet_file, *options()])
    text = capsys.readouterr().out
    assert text.count("265 / 265") == 2
    assert "unused: fc.weight, fc.bias" in text
    assert "MODEL.REID.BACKBONE.RESNETS.STRIDE_IN_1X1 False" in text
    assert f"MODEL.WEIGHTS {output}" in text
    assert len(read_checkpoint(output)["model"]) == 530
    with pytest.raises(SystemExit) as exit_:
        COMMAND["main"]([*arguments, *options(stride_in_1x1=True)])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {resnet_file} (convention: torchvision)")
