"""CLIP's ResNet as a backbone, filled by files of PLIP."""

import pytest
import torch
from detectron2.modeling import build_backbone, build_model

from clsa_search.checkpoint import PersonSearchCheckpointer, convert_weights, save_weights
from clsa_search.errors import InputError
from clsa_search.modeling.optimize import optimize_for_inference
from tests.support.public_backbones import PublicCLIPResNet
from tests.support.public_reid import randomize

REID = "MODEL.REID.BACKBONE"
OPTS = [
    *("MODEL.BACKBONE.NAME", "build_clip_resnet_fpn_backbone", f"{REID}.NAME"),
    *("build_clip_resnet_backbone", "MODEL.RESNETS.WIDTH_PER_GROUP", "8"),
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", "8", "MODEL.RESNETS.RES2_OUT_CHANNELS", "32"),
    *(f"{REID}.RESNETS.STEM_OUT_CHANNELS", "8", f"{REID}.RESNETS.RES2_OUT_CHANNELS", "32"),
    *(f"{REID}.RESNETS.WIDTH_PER_GROUP", "8", "MODEL.REID.CROP_SIZE", "[64, 32]"),
]


@pytest.fixture
def file(tmp_path):
    """A checkpoint of PLIP, and its network."""
    torch.manual_seed(0)
    network = randomize(PublicCLIPResNet())
    content = {"ImgEncoder_state_dict": network.state_dict(), "TxtEncoder_state_dict": {}}
    torch.save(content, tmp_path / "plip.pth")
    return str(tmp_path / "plip.pth"), network


@torch.no_grad()
def test_both_backbones_compute_the_features_of_the_file(tiny_cfg, file, tmp_path):
    path, network = file
    tiny_cfg.merge_from_list(OPTS)
    converted = convert_weights(tiny_cfg, path)
    assert [(x.missing, x.unused, x.convention) for x in converted] == [([], [], "config")] * 2
    save_weights(converted, str(tmp_path / "out.pth"))
    model = build_model(tiny_cfg).eval()
    PersonSearchCheckpointer(model).load_weights(str(tmp_path / "out.pth"))
    crops = torch.randn(2, 3, 64, 32)
    for optimized in (False, True):
        if optimized:
            optimize_for_inference(model)
        for backbone in (model.backbone.bottom_up, model.reid_branch.backbone):
            expected = network(crops)
            atol = 1e-4 * float(expected.abs().max())
            torch.testing.assert_close(backbone(crops)["res5"], expected, rtol=0, atol=atol)


def test_shapes_and_freezing_are_those_of_a_resnet(tiny_cfg):
    tiny_cfg.merge_from_list([*OPTS, "MODEL.BACKBONE.FREEZE_AT", "2"])
    backbone = build_backbone(tiny_cfg).bottom_up
    outputs = backbone(torch.randn(1, 3, 64, 96))
    for name, shape in backbone.output_shape().items():
        assert outputs[name].shape == (1, shape.channels, 64 // shape.stride, 96 // shape.stride)
    trained = {name.split(".")[0] for name, x in backbone.named_parameters() if x.requires_grad}
    assert trained == {"res3", "res4", "res5"}


def test_another_resnet_or_depth_is_refused(tiny_cfg, file):
    tiny_cfg.MODEL.RESNETS.STEM_OUT_CHANNELS = 8
    with pytest.raises(InputError, match="holds a CLIP ResNet, but .*, a ResNet; expected a file"):
        convert_weights(tiny_cfg, file[0])
    tiny_cfg.merge_from_list([*OPTS, f"{REID}.RESNETS.DEPTH", "18"])
    with pytest.raises(InputError, match="RESNETS.DEPTH is 18; expected 50, 101 or 152"):
        build_model(tiny_cfg)
