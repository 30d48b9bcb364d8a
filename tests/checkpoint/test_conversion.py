"""Conversion of pretrained ResNets: equal features, full names, and refused files."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torchvision
from detectron2.modeling import build_model

from clsa_search.checkpoint import (
    convert_weights,
    read_checkpoint,
    save_weights,
)
from clsa_search.errors import InputError
from tests.support.resnet_conversion import (
    BACKBONES,
    COMMAND,
    CONFIG_FILE,
    assert_same_features,
    backbone_features,
    caffe2_names,
    config,
    load,
    options,
    randomize_norms,
)

SHARED = [
    *("MODEL.REID.NAME", "SharedBranch", "MODEL.REID.LEVELS", "['res4', 'res5']"),
]


@pytest.fixture(scope="module")
def resnet():
    """torchvision's ResNet-50, 4 instead of 64 wide within its blocks."""
    torch.manual_seed(0)
    return randomize_norms(torchvision.models.resnet50(weights=None, width_per_group=4))


@pytest.fixture
def resnet_file(resnet, tmp_path):
    torch.save(resnet.state_dict(), tmp_path / "resnet.pth")
    return str(tmp_path / "resnet.pth")


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
