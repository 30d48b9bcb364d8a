"""Public ConvNeXt and Swin files fill our backbones, with equal features."""

import pytest
import torch
import torchvision
from detectron2.modeling import build_model

from clsa_search.checkpoint import convert_weights, save_weights
from clsa_search.checkpoint.checkpointer import PersonSearchCheckpointer
from clsa_search.checkpoint.conversion import required_keys
from clsa_search.engine import load_config
from clsa_search.errors import InputError
from tests.support.public_backbones import (
    compute_solider,
    name_convnext,
    name_solider,
    name_swin,
)
from tests.support.staged_backbones import build_classifier, staged_opts
from tests.support.tiny import ROOT, TINY_MODEL

CONFIG_FILE = str(ROOT / "configs" / "clsa_small_synthetic_demo.yaml")
PIXELS = [
    *("INPUT.FORMAT", "RGB", "MODEL.PIXEL_MEAN", "[123.675, 116.28, 103.53]"),
    *("MODEL.PIXEL_STD", "[58.395, 57.12, 57.375]"),
]
LAYOUTS = {
    "torchvision convnext": lambda network: network.state_dict(),
    "timm convnext": lambda network: name_convnext(network, "timm"),
    "paper convnext": lambda network: {"model": name_convnext(network, "paper")},
    "torchvision swin": lambda network: network.state_dict(),
    "timm swin": lambda network: name_swin(network, "timm"),
    "paper swin": lambda network: {"model": name_swin(network, "paper")},
    "torchvision swin-v2": lambda network: network.state_dict(),
    "paper swin-v2": lambda network: {"model": name_swin(network, "paper")},
}


def config(kind, *opts, **which):
    return load_config(CONFIG_FILE, [*TINY_MODEL, *PIXELS, *staged_opts(kind, **which), *opts])


def convert(cfg, content, folder, **options):
    """Convert the content of a file; return the converted backbones and the filled model."""
    torch.save(content, folder / "public.pth")
    converted = convert_weights(cfg, str(folder / "public.pth"), **options)
    save_weights(converted, str(folder / "converted.pth"))
    model = build_model(cfg).eval()
    PersonSearchCheckpointer(model).load_weights(str(folder / "converted.pth"))
    return converted, model


@torch.no_grad()
@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_backbones_compute_the_features_of_the_file(layout, tmp_path, caplog):
    torch.manual_seed(0)
    kind = layout.split()[1]
    network = build_classifier(kind)
    converted, model = convert(config(kind), LAYOUTS[layout](network), tmp_path)
    assert [(len(x.tensors), x.missing, x.adapted) for x in converted] == [
        (x.expected, [], False) for x in converted
    ]
    assert all(name.split(".")[-2] in ("head", "fc", "2") for name in converted[0].unused)
    assert "START AT RANDOM" not in caplog.text
    crops = torch.randn(2, 3, 128, 64)
    expected = network.features(crops)
    if kind == "convnext":
        expected = network.classifier[0](expected)
    else:
        expected = network.norm(expected).permute(0, 3, 1, 2)
    for backbone in (model.backbone.bottom_up, model.reid_branch.backbone):
        torch.testing.assert_close(backbone(crops)["res5"], expected, atol=1e-4, rtol=1e-4)
        assert backbone.norm_res3.weight.eq(1).all() and backbone.norm_res3.bias.eq(0).all()


@torch.no_grad()
@pytest.mark.parametrize("container", [lambda x: x, lambda x: {"student": {}, "teacher": x}])
def test_solider_fills_the_branch_with_its_semantic_controller(container, tmp_path):
    torch.manual_seed(0)
    network = build_classifier("swin")
    state = name_solider(network)
    (converted,) = convert_weights_of_branch("swin", container(state), tmp_path)
    # the branch matches res3 to res5
    assert sorted(converted.unused) == [
        *("backbone.norm0.bias", "backbone.norm0.weight", "head.mlp.0.weight"),
    ]
    assert converted.missing == []
    backbone = build_model(config("swin", detector=False)).reid_branch.backbone.eval()
    fit = backbone.load_state_dict(converted.tensors, strict=False)
    assert {name.rsplit(".", 1)[1] for name in fit.missing_keys} == {"relative_position_index"}
    # maps of less than a window are shifted there, but not in torchvision
    crops = torch.randn(2, 3, 256, 256)
    _, *expected = compute_solider(network, state, crops)
    for actual, maps in zip(backbone(crops).values(), expected, strict=True):
        torch.testing.assert_close(actual, maps, atol=1e-3, rtol=1e-3)


def convert_weights_of_branch(kind, content, folder):
    """Convert for the branch of a model with a ResNet in its detector."""
    torch.save(content, folder / "public.pth")
    resnet = torchvision.models.resnet50(weights=None, width_per_group=4)
    torch.save(resnet.state_dict(), folder / "resnet.pth")
    opts = ["MODEL.RESNETS.STEM_OUT_CHANNELS", "64", "MODEL.RESNETS.RES2_OUT_CHANNELS", "256"]
    cfg = config(kind, *opts, "MODEL.RESNETS.STRIDE_IN_1X1", "False", detector=False)
    files = str(folder / "resnet.pth"), str(folder / "public.pth")
    return convert_weights(cfg, files[0], reid_source=files[1])[1:]


def test_the_first_convolution_is_adapted_to_the_pixels_of_the_config(tmp_path):
    network = build_classifier("convnext")
    bgr = ["INPUT.FORMAT", "BGR", "MODEL.PIXEL_MEAN", "[103.53, 116.28, 123.675]"]
    cfg = config("convnext", *bgr, "MODEL.PIXEL_STD", "[1.0, 1.0, 1.0]")
    converted, model = convert(cfg, network.state_dict(), tmp_path)
    assert all(x.adapted for x in converted)
    image = torch.randint(0, 256, (3, 64, 64)).float()  # RGB
    mean, std = torch.tensor(PIXEL_STATISTICS)[:, :, None, None]
    with torch.no_grad():
        expected = network.classifier[0](network.features(((image - mean) / std)[None]))
        images = model.preprocess_image([{"image": image.flip(0)}])
        actual = model.backbone.bottom_up(images.tensor)["res5"]
    torch.testing.assert_close(actual, expected, atol=1e-3, rtol=1e-3)


PIXEL_STATISTICS = [[123.675, 116.28, 103.53], [58.395, 57.12, 57.375]]


def test_a_network_of_another_kind_or_size_is_refused(tmp_path):
    path = str(tmp_path / "public.pth")
    torch.save(build_classifier("swin").state_dict(), path)
    with pytest.raises(InputError) as error:
        convert_weights(config("convnext"), path)
    assert str(error.value) == (
        f"{path}: holds a Swin, but MODEL.BACKBONE.NAME is 'build_convnext_fpn_backbone', a "
        "ConvNeXt; expected a file with a ConvNeXt, or a MODEL.BACKBONE.NAME that builds a Swin"
    )
    with pytest.raises(InputError, match="holds a Swin, but .*BACKBONE.NAME is .*, a ResNet"):
        convert_weights(load_config(CONFIG_FILE, [*TINY_MODEL, *PIXELS]), path)
    with pytest.raises(InputError, match=r"expected a Swin with the depth and .* of MODEL.SWIN"):
        convert_weights(config("swin", "MODEL.SWIN.DEPTHS", "[2, 2, 2, 2]"), path)
    torch.save({"blocks.0.attn.qkv.weight": torch.ones(2)}, path)
    with pytest.raises(InputError, match="no ResNet, ConvNeXt or Swin .* but a vision transformer"):
        convert_weights(config("swin"), path)


def test_weights_depend_on_the_name_and_the_size(tmp_path):
    cfg = config("swin")
    converted, _ = convert(cfg, build_classifier("swin").state_dict(), tmp_path)
    keys = required_keys(cfg, converted)
    assert keys["MODEL.REID.BACKBONE.NAME"] == "build_swin_backbone"
    assert keys["MODEL.SWIN.SIZE"] == "t" and keys["MODEL.REID.BACKBONE.SWIN.VERSION"] == 1


def test_of_a_pair_of_moco_the_query_encoder_is_taken(tmp_path):
    resnet = torchvision.models.resnet50(weights=None, width_per_group=4)
    state = {f"module.encoder_q.{name}": value for name, value in resnet.state_dict().items()}
    state |= {name.replace("encoder_q", "encoder_k"): x * 2 for name, x in state.items()}
    wide = ["STEM_OUT_CHANNELS", "64", "RES2_OUT_CHANNELS", "256", "STRIDE_IN_1X1", "False"]
    opts = [
        word
        for node in ("MODEL.RESNETS", "MODEL.REID.BACKBONE.RESNETS")
        for key, value in zip(wide[::2], wide[1::2], strict=True)
        for word in (f"{node}.{key}", value)
    ]
    cfg = load_config(CONFIG_FILE, [*TINY_MODEL, *PIXELS, *opts])
    torch.save({"state_dict": {**state, "module.queue": torch.ones(2)}}, tmp_path / "moco.pth")
    for backbone in convert_weights(cfg, str(tmp_path / "moco.pth")):
        assert torch.equal(backbone.tensors["stem.conv1.weight"], resnet.conv1.weight.detach())
        assert len(backbone.tensors) == backbone.expected
