"""The crop branch: what the trunk sees of each box."""

import torch
from detectron2.structures import Boxes, ImageList

from clsa_search.modeling import CropBranch


class Recorder(torch.nn.Module):
    """A trunk that hands on what it was given."""

    def forward(self, crops):
        return {"res3": crops, "res5": crops.mean(dim=(2, 3), keepdim=True), "unused": crops}


def ramp(height=64, width=48):
    """Pixel (y, x) holds 100 y + x in every channel."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (100.0 * y + x).expand(3, height, width)


def branch(crop_size):
    return CropBranch(trunk=Recorder(), levels=["res3", "res5"], crop_size=crop_size)


def crop(images, boxes, crop_size):
    images = ImageList.from_tensors(images)
    return branch(crop_size)(images, {}, [Boxes(torch.tensor(b)) for b in boxes])


def test_a_box_of_crop_size_is_cut_out_exactly():
    image = ramp()
    levels = crop([image], [[[8.0, 16.0, 24.0, 48.0]]], (32, 16))
    assert set(levels) == {"res3", "res5"}
    torch.testing.assert_close(levels["res3"][0], image[:, 16:48, 8:24])


def test_crops_stand_upright_and_large_boxes_are_averaged():
    levels = crop([ramp()], [[[0.0, 0.0, 32.0, 64.0]]], (32, 16))
    assert levels["res3"].shape == (1, 3, 32, 16)
    averaged = torch.nn.functional.avg_pool2d(ramp()[None, :, :, :32], 2)
    torch.testing.assert_close(levels["res3"], averaged)


def test_rows_follow_the_boxes_of_each_image():
    first, second = ramp(), ramp() + 7
    boxes = [[[0.0, 0.0, 4.0, 8.0], [4.0, 8.0, 8.0, 16.0]], [[4.0, 8.0, 8.0, 16.0]]]
    got = crop([first, second], boxes, (8, 4))["res3"]
    torch.testing.assert_close(got[0], first[:, :8, :4])
    torch.testing.assert_close(got[1], first[:, 8:16, 4:8])
    torch.testing.assert_close(got[2], second[:, 8:16, 4:8])


def test_the_configured_trunk_gives_the_levels_lowest_first(tiny_cfg):
    built = CropBranch(tiny_cfg)
    assert list(built.output_shape()) == ["res3", "res4", "res5"]
    images = ImageList.from_tensors([torch.randn(3, 64, 96)])
    levels = built(images, {}, [Boxes(torch.tensor([[0.0, 0, 30, 60], [5.0, 5, 9, 9]]))])
    grids = {"res3": (4, 2), "res4": (2, 1), "res5": (1, 1)}  # of crops of 32 x 16
    for level, shape in built.output_shape().items():
        assert levels[level].shape == (2, shape.channels, *grids[level])
