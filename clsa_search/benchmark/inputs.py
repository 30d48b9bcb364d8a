"""Models with random weights, random pictures and descriptors: speed depends on none of them.

Every picture holds a stated number of people, whose boxes are given: what a random detector finds
is no measure of anything.
"""

import math

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import nn

from clsa_search.data.records import UNLABELLED

FIELD_SIZE = (900, 1500)  # (height, width): the field's largest test picture
_ASPECT = 0.4  # width / height of a person
_HEIGHTS = (0.08, 0.6)  # of a person, in picture heights
_LABELLED = 0.5  # share of the people whose identity is known


def build_random_model(cfg: CfgNode, device: torch.device, *, identities: int = 0) -> nn.Module:
    """A model of a config, in evaluation mode, that detects nobody by itself.

    Args:
        cfg: not modified; its MODEL.WEIGHTS are not read.
        device: where it is to be.
        identities: P of the classifiers; 0 for inference.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = str(device)
    cfg.MODEL.REID.NUM_IDS = identities
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 1.0
    torch.manual_seed(0)
    return build_model(cfg).eval()


def draw_inputs(
    count: int, *, size: tuple[int, int] = FIELD_SIZE, people: int, identities: int = 0
) -> list[dict]:
    """Inputs of the model, as PersonSearchMapper makes them.

    Args:
        count: of pictures.
        size: (height, width) of each.
        people: of each.
        identities: P, to draw `instances` for training; 0 gives queries, for inference.
    """
    generator = torch.Generator().manual_seed(0)
    return [_draw_input(generator, size, people, identities) for _ in range(count)]


def draw_descriptors(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    """Unit rows (count, width) float32 of random directions."""
    return normalise(rng.standard_normal((count, width), dtype=np.float32))


def normalise(rows: np.ndarray) -> np.ndarray:
    """Make rows (N, D) unit where they are: they may be most of the memory."""
    rows /= np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    return rows


def _draw_input(
    generator: torch.Generator, size: tuple[int, int], people: int, identities: int
) -> dict:
    height, width = size
    boxes = Boxes(_draw_boxes(generator, size, people))
    example = {
        "image": torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator),
        "height": height,
        "width": width,
    }
    if not identities:
        return {**example, "query_boxes": boxes, "query_ids": torch.arange(people)}
    pids = torch.randint(0, identities, (people,), generator=generator)
    unknown = torch.rand(people, generator=generator) > _LABELLED
    instances = Instances(
        size,
        gt_boxes=boxes,
        gt_classes=torch.zeros(people, dtype=torch.int64),
        gt_pids=pids.masked_fill(unknown, UNLABELLED),
    )
    return {**example, "instances": instances}


def _draw_boxes(generator: torch.Generator, size: tuple[int, int], people: int) -> torch.Tensor:
    """(people, 4) XYXY in pixels, heights evenly over octaves."""
    height, width = size
    shares = torch.rand(people, 3, generator=generator)
    low, high = (math.log(limit * height) for limit in _HEIGHTS)
    tall = (low + shares[:, 0] * (high - low)).exp()
    wide = (_ASPECT * tall).clamp(max=width)
    left, top = shares[:, 1] * (width - wide), shares[:, 2] * (height - tall)
    return torch.stack([left, top, left + wide, top + tall], dim=1)
