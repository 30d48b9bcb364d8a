"""The re-ID branches: the feature maps of boxes at each level."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from detectron2.structures import Boxes, ImageList

from clsa_search.errors import InputError
from clsa_search.modeling import (
    CropBranch,
    SharedBranch,
    build_reid_branch,
    compute_features,
    feature_shapes,
)


class Recorder(torch.nn.Module):
    """A backbone that returns its input."""

    def forward(self, crops):
        return {"res3": crops, "res5": crops.mean(dim=(2, 3), keepdim=True), "unused": crops}


def ramp(height=64, width=48):
    """Return an image with the value 100 y + x at pixel (y, x) of every channel."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (100.0 * y + x).expand(3, height, width)


def branch(crop_size):
    return CropBranch(backbone=Recorder(), levels=["res3", "res5"], crop_size=crop_size)


def crop(images, boxes, crop_size):
    images = ImageList.from_tensors(images)
    return branch(crop_size)(images, {}, [Boxes(torch.tensor(b)) for b in boxes])


def test_a_box_of_crop_size_is_cut_out_exactly():
    image = ramp()
    levels = crop([image], [[[8.0, 16.0, 24.0, 48.0]]], (32, 16))
    assert set(levels) == {"res3", "res5"}
    torch.testing.assert_close(levels["res3"][0], image[:, 16:48, 8:24])


def test_large_boxes_are_averaged_to_the_crop_size():
    levels = crop([ramp()], [[[0.0, 0.0, 32.0, 64.0]]], (32, 16))
    assert levels["res3"].shape == (1, 3, 32, 16)
    averaged = torch.nn.functional.avg_pool2d(ramp()[None, :, :, :32], 2)
    torch.testing.assert_close(levels["res3"], averaged)


def test_rows_follow_the_boxes_of_each_image():
    first, second = ramp(), ramp() + 7
    boxes = [[[0.0, 0.0, 4.0, 8.0], [4.0, 8.0, 8.0, 16.0]], [[4.0, 8.0, 8.0, 16.0]]]
    crops = crop([first, second], boxes, (8, 4))["res3"]
    torch.testing.assert_close(crops[0], first[:, :8, :4])
    torch.testing.assert_close(crops[1], first[:, 8:16, 4:8])
    torch.testing.assert_close(crops[2], second[:, 8:16, 4:8])


def test_the_configured_backbone_returns_the_levels_lowest_first(tiny_cfg):
    tiny_cfg.freeze()
    built = build_reid_branch(tiny_cfg, {})
    assert list(built.output_shape()) == ["res3", "res4", "res5"]
    images = ImageList.from_tensors([torch.randn(3, 64, 96)])
    levels = built(images, {}, [Boxes(torch.tensor([[0.0, 0, 30, 60], [5.0, 5, 9, 9]]))])
    grids = {"res3": (4, 2), "res4": (2, 1), "res5": (1, 1)}  # of crops of 32 x 16
    for level, shape in built.output_shape().items():
        assert levels[level].shape == (2, shape.channels, *grids[level])


SHARED = ["MODEL.REID.NAME", "SharedBranch"]
C4 = [
    *("MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.RESNETS.OUT_FEATURES", "['res4']"),
]


def test_shared_levels_are_pooled_from_every_feature_map():
    shapes = {"res3": ShapeSpec(channels=3, stride=1), "res5": ShapeSpec(channels=3, stride=4)}
    shared = SharedBranch(input_shape=shapes, pool_size=(8, 4))
    image = ramp()
    features = {
        "res3": image[None],
        "res5": torch.nn.functional.avg_pool2d(image[None], 4),
        "p2": None,
    }
    images = ImageList.from_tensors([image])
    box = Boxes(torch.tensor([[8.0, 16.0, 24.0, 48.0]]))
    levels = shared(images, features, [box])
    expected = torch.nn.functional.avg_pool2d(image[:, 16:48, 8:24], 4)
    assert list(levels) == ["res3", "res5"]
    for level in levels.values():
        torch.testing.assert_close(level[0], expected)


def test_stages_of_the_detectors_backbone_can_be_shared(tiny_cfg):
    tiny_cfg.merge_from_list(SHARED)
    backbone = build_backbone(tiny_cfg)
    built = build_reid_branch(tiny_cfg, feature_shapes(backbone))
    assert list(built.output_shape()) == built.in_features == ["res3", "res4", "res5"]
    assert not list(built.parameters()), "all parameters are the detector's"
    images = ImageList.from_tensors([torch.randn(3, 64, 96)])
    features = compute_features(backbone, images.tensor, built.in_features)
    assert set(features) == {*built.in_features, *backbone.output_shape()}
    torch.testing.assert_close(features["res4"], backbone.bottom_up(images.tensor)["res4"])
    levels = built(images, features, [Boxes(torch.tensor([[0.0, 0, 30, 60], [5.0, 5, 9, 9]]))])
    for name, shape in built.output_shape().items():
        assert levels[name].shape == (2, shape.channels, 16, 8)


def test_threads_get_the_stages_of_their_own_images(tiny_cfg):
    backbone = build_backbone(tiny_cfg)
    batches = torch.randn(2, 1, 3, 64, 96).unbind()
    expected = [backbone.bottom_up(images)["res4"] for images in batches]
    both_run = threading.Barrier(2, timeout=60)

    def wait_for_both(*_):
        both_run.wait()

    backbone.bottom_up.register_forward_pre_hook(wait_for_both)
    backbone.register_forward_hook(wait_for_both)
    with ThreadPoolExecutor(2) as pool:
        features = list(pool.map(lambda x: compute_features(backbone, x, ["res4"]), batches))
    for found, stage in zip(features, expected, strict=True):
        torch.testing.assert_close(found["res4"], stage)


def test_levels_of_the_pyramid_can_be_shared(tiny_cfg):
    tiny_cfg.merge_from_list([*SHARED, "MODEL.REID.LEVELS", "['p2', 'p4']"])
    backbone = build_backbone(tiny_cfg)
    built = build_reid_branch(tiny_cfg, feature_shapes(backbone))
    images = torch.randn(1, 3, 64, 96)
    assert set(compute_features(backbone, images, built.in_features)) == set(
        backbone.output_shape()
    )
    assert [shape.stride for shape in built.output_shape().values()] == [4, 16]


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.REID.NAME", "Crop"], r"NAME is 'Crop'.*CropBranch, SharedBranch"),
        (["MODEL.REID.LEVELS", "['res6']"], r"LEVELS is \['res6'\].*res2, res3, res4, res5"),
        (["MODEL.REID.LEVELS", "['res5', 'res3']"], "lowest first"),
        (["MODEL.REID.LEVELS", "[]"], "LEVELS is "),
        (["MODEL.REID.BACKBONE.NAME", "resnet"], r"REID.BACKBONE.NAME is 'resnet'.*build_resnet_b"),
        *(
            (
                ["MODEL.REID.BACKBONE.NAME", f"build_{name}_fpn_backbone"],
                "LEVELS is .*more of p2, p3",
            )
            for name in ("resnet", "retinanet_resnet", "convnext")
        ),
        (
            [*SHARED, "MODEL.REID.LEVELS", "['p7']"],
            r"LEVELS is \['p7'\].*res2, p2, res3, p3, res4, p4, res5, p5, p6",
        ),
        ([*SHARED, *C4], r"LEVELS is \['res3', 'res4', 'res5'\]; expected one or more of res4, l"),
    ],
)
def test_config_errors_name_key_and_value(tiny_cfg, opts, message):
    tiny_cfg.merge_from_list(opts)
    with pytest.raises(InputError, match=message):
        build_reid_branch(tiny_cfg, feature_shapes(build_backbone(tiny_cfg)))
