"""Networks of timm as backbones; the package is optional."""

import sys

import pytest
import torch
from detectron2.modeling import build_backbone, build_model

from clsa_search.checkpoint import convert_weights
from clsa_search.errors import InputError
from clsa_search.modeling import build_reid_branch
from clsa_search.modeling.staged_backbone import STAGES

PIXELS = [
    *("INPUT.FORMAT", "RGB", "MODEL.PIXEL_MEAN", "[123.675, 116.28, 103.53]"),
    *("MODEL.PIXEL_STD", "[58.395, 57.12, 57.375]"),
]


def reid_opts(name, *opts):
    node = "MODEL.REID.BACKBONE"
    names = [f"{node}.NAME", "build_timm_backbone", f"{node}.TIMM.NAME", name]
    return [*names, *PIXELS, "MODEL.REID.CROP_SIZE", "[64, 32]", *opts]


def test_without_the_package_the_command_to_install_it_is_named(tiny_cfg, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    tiny_cfg.merge_from_list(reid_opts("convnext_atto"))
    with pytest.raises(
        InputError, match=r"'convnext_atto' needs .* pip install clsa_search\[timm\]"
    ):
        build_model(tiny_cfg)


class TestWithTimm:
    @pytest.fixture(autouse=True)
    def timm(self):
        return pytest.importorskip("timm", reason="needs the optional package timm")

    @pytest.mark.parametrize(
        ("name", "strides"),
        [("convnext_atto", [4, 8, 16, 32]), ("vit_tiny_patch16_224", [16] * 4)],
    )
    def test_maps_have_the_stated_shapes_and_every_parameter_learns(self, tiny_cfg, name, strides):
        tiny_cfg.merge_from_list(reid_opts(name, "MODEL.REID.LEVELS", str(list(STAGES))))
        backbone = build_reid_branch(tiny_cfg, {}).backbone
        maps = backbone(torch.rand(2, 3, 64, 32))
        assert [shape.stride for shape in backbone.output_shape().values()] == strides
        for level, shape in backbone.output_shape().items():
            size = 64 // shape.stride, 32 // shape.stride
            assert maps[level].shape == (2, shape.channels, *size)
        sum(value.square().mean() for value in maps.values()).backward()
        assert all(value.grad is not None for value in backbone.parameters())
        depths = [backbone.layer_depth(name) for name, _ in backbone.named_parameters()]
        assert min(depths) == 0 and max(depths) == backbone.depth > 4

    def test_freezing_fixes_the_first_parts(self, tiny_cfg):
        tiny_cfg.merge_from_list(reid_opts("convnext_atto", "MODEL.REID.BACKBONE.FREEZE_AT", 2))
        backbone = build_reid_branch(tiny_cfg, {}).backbone
        fixed = {n.split(".")[2] for n, x in backbone.named_parameters() if not x.requires_grad}
        assert not backbone.network.stem[0].weight.requires_grad
        assert backbone.network.stages[1].blocks[0].conv_dw.weight.requires_grad
        assert "0" in fixed and not backbone.network.stages[0].blocks[1].gamma.requires_grad

    def test_a_plain_transformer_has_no_pyramid(self, tiny_cfg):
        tiny_cfg.MODEL.BACKBONE.NAME = "build_timm_fpn_backbone"
        tiny_cfg.MODEL.TIMM.NAME = "convnext_atto"
        assert "p6" in build_backbone(tiny_cfg).output_shape()
        tiny_cfg.MODEL.TIMM.NAME = "vit_tiny_patch16_224"
        with pytest.raises(InputError, match="have the strides 16, 16, 16, 16; expected each"):
            build_backbone(tiny_cfg)

    def test_unknown_networks_are_refused(self, tiny_cfg):
        tiny_cfg.merge_from_list(reid_opts("convnext_giant"))
        with pytest.raises(InputError, match="TIMM.NAME is 'convnext_giant': Unknown model"):
            build_model(tiny_cfg)

    def test_files_of_timm_fill_its_network_and_ours(self, tiny_cfg, timm, tmp_path):
        network = timm.create_model("vit_tiny_patch16_224", num_classes=3)
        torch.save(network.state_dict(), tmp_path / "vit.pth")
        resnet = {"res2.0.conv1.weight": torch.ones(4, 8, 1, 1)}
        torch.save(resnet, tmp_path / "resnet.pth")
        tiny_cfg.merge_from_list(reid_opts("vit_tiny_patch16_224"))
        options = {"partial": True, "convention": "config"}
        files = str(tmp_path / "resnet.pth"), str(tmp_path / "vit.pth")
        _, branch = convert_weights(tiny_cfg, files[0], reid_source=files[1], **options)
        assert branch.missing == [] and branch.unused == ["head.weight", "head.bias"]
        with pytest.raises(InputError, match="expected timm's weights of the network"):
            convert_weights(tiny_cfg, files[0], reid_source=files[0], **options)
