"""Inputs of a PersonSearchRCNN as the dataset mapper makes them: images of 96 x 64 noise."""

import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

SIZE = (64, 96)


def random_image(seed, size=SIZE):
    """Return noise, (3, H, W) uint8."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)


def random_boxes(count, seed, size=30):
    """Return boxes (count, 4) with sides of 4 pixels and up to `size` more."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * 60
    sides = 4 + size * torch.rand(count, 2, generator=generator)
    return torch.cat([corners, corners + sides], dim=1)


def training_input(seed, pids):
    """Return a training input with a ground-truth box for each identity, side by side."""
    targets = Instances(SIZE)
    left = torch.arange(len(pids), dtype=torch.float32)[:, None] * 20
    targets.gt_boxes = Boxes(torch.cat([left, left * 0, left + 15, left * 0 + 40], dim=1))
    targets.gt_classes = torch.zeros(len(pids), dtype=torch.int64)
    targets.gt_pids = torch.tensor(pids, dtype=torch.int64)
    return {"image": random_image(seed), "instances": targets, "height": 64, "width": 96}


def inference_input(seed, *, scale=1, boxes=None, query_ids=None, gt_boxes=None):
    """Return a test input; the original image is `scale` times as large."""
    example = {"image": random_image(seed), "height": 64 * scale, "width": 96 * scale}
    if query_ids is not None:
        example["query_boxes"] = Boxes(torch.tensor(boxes))
        example["query_ids"] = torch.tensor(query_ids)
    if gt_boxes is not None:
        example["gt_boxes"] = Boxes(torch.tensor(gt_boxes))
    return example


def compute_losses(model, inputs):
    """Return the losses of a training pass with fixed sampling."""
    torch.manual_seed(5)
    with EventStorage():
        return model(inputs)
