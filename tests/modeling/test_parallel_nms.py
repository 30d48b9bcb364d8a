"""Parallel NMS: the selection of torchvision's greedy NMS, for any boxes."""

import pytest
import torch
from detectron2.layers import batched_nms

from clsa_search.modeling.gpu_ops import find_overlaps
from clsa_search.modeling.parallel_nms import suppress_overlaps

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
LIMITS = [0.25, 0.5, 0.7]  # numbers that float32 does not round up


def draw_boxes(groups, count, *, size, cells, generator):
    """Return boxes of whole pixels, so that IoUs are exact; many overlap, and some are empty."""
    corners = torch.randint(0, cells, (groups, count, 2), generator=generator)
    sides = torch.randint(0, size, (groups, count, 2), generator=generator)
    return torch.cat([corners, corners + sides], dim=2).float()


def check_against_torchvision(boxes, scores, valid, max_iou, rounds):
    """Compare the selection with batched_nms, which ranks ties by their positions, too."""
    order = scores.sort(dim=1, descending=True, stable=True).indices
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    scores, valid = scores.gather(1, order), valid.gather(1, order)
    selected, is_final = suppress_overlaps(boxes, valid, max_iou, rounds)
    assert is_final
    groups = torch.arange(len(boxes), device=boxes.device)[:, None].expand_as(valid)
    kept = batched_nms(boxes[valid], scores[valid], groups[valid], max_iou)
    expected = torch.zeros_like(valid)
    expected[valid] = torch.zeros_like(groups[valid], dtype=torch.bool).index_fill(0, kept, True)
    assert selected.equal(expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("max_iou", LIMITS)
def test_thousands_of_random_groups(device, max_iou):
    generator = torch.Generator().manual_seed(0)
    for count, size, cells in ((1, 9, 9), (2, 9, 3), (12, 8, 6), (40, 30, 20), (90, 300, 200)):
        for levels in (2, 5, 1000):  # few different scores: ties
            boxes = draw_boxes(90, count, size=size, cells=cells, generator=generator)
            scores = torch.randint(0, levels, (90, count), generator=generator) / levels
            valid = torch.rand(90, count, generator=generator) < 0.9
            inputs = (x.to(device) for x in (boxes, scores, valid))
            check_against_torchvision(*inputs, max_iou, rounds=count)


@pytest.mark.parametrize("device", DEVICES)
def test_boxes_as_an_rpn_has_them_need_few_rounds(device):
    generator = torch.Generator().manual_seed(0)
    people = torch.rand(2, 8, 2, generator=generator) * 800
    near = people[:, torch.arange(1000) % 8] + torch.randn(2, 1000, 2, generator=generator) * 20
    corners = near.round().clamp(min=0)
    boxes = torch.cat([corners, corners + 90], dim=2)
    scores = torch.rand(2, 1000, generator=generator)
    valid = torch.ones(2, 1000, dtype=torch.bool)
    inputs = (x.to(device) for x in (boxes, scores, valid))
    check_against_torchvision(*inputs, 0.7, rounds=20)


@pytest.mark.parametrize("device", DEVICES)
def test_equal_empty_and_no_boxes(device):
    boxes = torch.tensor([[2.0, 2, 8, 9], [5, 5, 5, 9], [2, 2, 8, 9], [5, 5, 5, 9]], device=device)
    valid = torch.ones(1, 4, dtype=torch.bool, device=device)
    selected, is_final = suppress_overlaps(boxes[None], valid, 0.5, 4)
    assert selected.tolist() == [[True, True, False, True]] and is_final
    selected, is_final = suppress_overlaps(boxes[None], ~valid, 0.5, 1)
    assert not selected.any() and is_final
    selected, is_final = suppress_overlaps(boxes[None, :0], valid[:, :0], 0.5, 1)
    assert selected.shape == (1, 0) and is_final


@pytest.mark.gpu
@pytest.mark.parametrize("max_iou", LIMITS)
def test_both_devices_find_the_same_overlaps(max_iou):
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(20, 500, 2, generator=generator) * 400
    boxes = torch.cat([corners, corners + 200 * torch.rand(20, 500, 2, generator=generator)], dim=2)
    boxes[:, ::7, 2:] = boxes[:, ::7, :2]
    expected = find_overlaps(boxes, max_iou)
    assert 0 < expected.mean() < 1
    assert find_overlaps(boxes.cuda(), max_iou).cpu().float().equal(expected)


def test_a_chain_takes_as_many_rounds_as_it_has_boxes():
    left = torch.arange(30.0) * 4
    boxes = torch.stack([left, left * 0, left + 10, left * 0 + 10], dim=1)[None]
    valid = torch.ones(1, 30, dtype=torch.bool)
    _, is_final = suppress_overlaps(boxes, valid, 0.3, 28)
    assert not is_final
    selected, is_final = suppress_overlaps(boxes, valid, 0.3, 30)
    assert is_final and selected[0].tolist() == [True, False] * 15
