"""Fused blocks: the maps of Detectron2's blocks, with any norm, bias, stride and shortcut."""

import copy

import pytest
import torch
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling.backbone import FPN, build_resnet_backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
from torch import nn

from clsa_search.modeling.fused_blocks import (
    FusedBlock,
    FusedConv,
    FusedFPN,
    FusedRPNHead,
    FusedStem,
    fuse_blocks,
)

BLOCKS = {
    "bottleneck": BottleneckBlock(16, 16, bottleneck_channels=8, norm=""),
    "projection": BottleneckBlock(16, 32, bottleneck_channels=8, norm="", stride=2),
    "stride in 1 x 1": BottleneckBlock(
        16, 32, bottleneck_channels=8, norm="", stride=2, stride_in_1x1=True
    ),
    "groups": BottleneckBlock(16, 16, bottleneck_channels=8, norm="", num_groups=4, dilation=2),
    "basic": BasicBlock(16, 16, norm=""),
    "basic projection": BasicBlock(16, 24, norm="", stride=2),
    "stem": BasicStem(16, 24, norm=""),
    "conv": Conv2d(16, 8, kernel_size=3, activation=nn.ReLU()),
}


@torch.no_grad()
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", BLOCKS)
def test_a_fused_block_computes_the_same(name, bias):
    block = copy.deepcopy(BLOCKS[name])
    for layer in block.modules():
        if isinstance(layer, Conv2d) and bias:
            layer.bias = nn.Parameter(torch.randn(layer.out_channels))
    model = nn.Sequential(block)
    maps = torch.randn(2, 16, 20, 24)
    given, expected = maps.clone(), model(maps)
    fuse_blocks(model)
    assert type(model[0]) in (FusedBlock, FusedConv, FusedStem)
    torch.testing.assert_close(model(maps), expected)
    assert maps.equal(given)


@pytest.mark.parametrize("norm", ["BN", "GN"])
def test_blocks_with_norms_stay(norm):
    model = nn.Sequential(BasicBlock(32, 32, norm=norm), BasicStem(3, 32, norm=norm))
    fuse_blocks(model)
    assert [type(block) for block in model] == [BasicBlock, BasicStem]


@torch.no_grad()
@pytest.mark.parametrize("top", [None, LastLevelMaxPool(), LastLevelP6P7(64, 8)])
def test_a_fused_pyramid_computes_the_same(tiny_cfg, top):
    tiny_cfg.MODEL.RESNETS.NORM = ""
    bottom_up = build_resnet_backbone(tiny_cfg, ShapeSpec(channels=3))
    if isinstance(top, LastLevelP6P7):
        top = LastLevelP6P7(bottom_up.output_shape()["res5"].channels, 8)
    fpn = FPN(bottom_up, ["res3", "res4", "res5"], 8, top_block=top)
    for conv in (*fpn.lateral_convs, *fpn.output_convs):
        conv.bias.copy_(torch.randn(8))
    model = nn.Sequential(fpn)
    images = torch.randn(2, 3, 64, 96)
    expected = model(images)
    fuse_blocks(model)
    assert type(model[0]) is FusedFPN and isinstance(model[0].bottom_up.stem, FusedStem)
    assert model[0].output_shape() == fpn.output_shape()
    outputs = model(images)
    assert list(outputs) == list(expected)
    for name, maps in outputs.items():
        torch.testing.assert_close(maps, expected[name])


@torch.no_grad()
@pytest.mark.parametrize("conv_dims", [(-1,), (8, 12)])
@pytest.mark.parametrize("anchors", [3, 8])
def test_a_fused_rpn_head_computes_the_same(conv_dims, anchors):
    head = StandardRPNHead(in_channels=16, num_anchors=anchors, conv_dims=conv_dims)
    for parameter in head.parameters():
        parameter.copy_(torch.randn_like(parameter) / 8)
    maps = [torch.randn(2, 16, 20, 24), torch.randn(2, 16, 10, 12)]
    model = nn.Sequential(head)
    expected = model(maps)
    fuse_blocks(model)
    assert type(model[0]) is FusedRPNHead
    hidden = [model[0].conv] if len(conv_dims) == 1 else list(model[0].conv)
    assert all(type(conv) is FusedConv for conv in hidden)
    for results, levels in zip(model(maps), expected, strict=True):
        for result, level in zip(results, levels, strict=True):
            torch.testing.assert_close(result, level)


def test_a_pyramid_that_averages_stays(tiny_cfg):
    bottom_up = build_resnet_backbone(tiny_cfg, ShapeSpec(channels=3))
    model = nn.Sequential(FPN(bottom_up, ["res4", "res5"], 8, fuse_type="avg"))
    fuse_blocks(model)
    assert type(model[0]) is FPN
