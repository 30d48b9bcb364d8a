"""Models with random weights, random inputs, images and embeddings; speed depends on none of them.

Each image has a given number of boxes: the detections of a random model mean nothing.
"""

import math
from pathlib import Path

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import nn

from benchmarks.speed.settings import CAMERA_SIZE, FIELD_SIZE
from clsa_search.data.datasets.json_writer import save_custom_json
from clsa_search.modeling import PersonSearchRCNN
from clsa_search.structures import UNLABELED

_ASPECT = 0.4  # box width / height
_HEIGHTS = (0.08, 0.6)  # smallest and largest box height / image height
_LABELED = 0.5  # share of boxes with an identity
_MAX_SHIFT = 0.1  # largest shift of a proposal / box size: IoU of 0.68 or more
_CELL = 16  # pixels per cell of smooth noise
_GRAIN = 4  # gray levels; with the smooth noise a JPEG file has 2 bits per pixel


def with_options(cfg: CfgNode, *opts: object) -> CfgNode:
    """Return a copy of a config with KEY, VALUE, KEY, VALUE changed."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.merge_from_list(list(opts))
    return cfg


def build_random_model(
    cfg: CfgNode, device: torch.device, *, identities: int = 0, detections: int = 0
) -> PersonSearchRCNN:
    """Build a model with random weights in evaluation mode.

    Args:
        cfg: config of the model; MODEL.WEIGHTS is not loaded.
        device: device of the model.
        identities: number of classifier identities P; 0 for inference.
        detections: number of detections per image, at arbitrary places.
    """
    cfg = with_options(
        cfg,
        *("MODEL.DEVICE", str(device), "MODEL.REID.NUM_IDS", identities),
        *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0 if detections else 1.0),
        *("MODEL.ROI_HEADS.NMS_THRESH_TEST", 1.0),  # random boxes overlap
        *("TEST.DETECTIONS_PER_IMAGE", detections),
    )
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    if detections:
        # Boxes stay anchors with a score of one half; random boxes would often be empty.
        rpn, boxes = model.proposal_generator.rpn_head, model.roi_heads.box_predictor
        for layer in (rpn.anchor_deltas, boxes.bbox_pred, boxes.cls_score):
            nn.init.zeros_(layer.weight)
    return model


def propose_near_boxes(model: PersonSearchRCNN, count: int) -> None:
    """Add `count` training proposals per image near its boxes, as a trained model proposes.

    Args:
        model: random model, without useful proposals; modified.
        count: number of added proposals per image.
    """

    def add(module: nn.Module, args: tuple, result: tuple) -> tuple:
        proposals, losses = result
        near = [_propose_near(targets, count) for targets in args[2]]
        return [Instances.cat(pair) for pair in zip(proposals, near, strict=True)], losses

    model.proposal_generator.register_forward_hook(add)


def generate_inputs(
    count: int, *, size: tuple[int, int] = FIELD_SIZE, boxes: int, identities: int = 0
) -> list[dict]:
    """Generate inputs in the form of PersonSearchDatasetMapper.

    Args:
        count: number of images.
        size: (height, width) of an image.
        boxes: number of boxes per image.
        identities: number of identities P of training `instances`; 0 gives queries for inference.
    """
    generator = torch.Generator().manual_seed(0)
    return [_generate_input(generator, size, boxes, identities) for _ in range(count)]


def generate_embeddings(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    """Generate random unit rows (count, width) float32."""
    return normalize(rng.standard_normal((count, width), dtype=np.float32))


def normalize(rows: np.ndarray) -> np.ndarray:
    """Scale rows (N, D) to unit length in place, to save memory, and return them."""
    rows /= np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    return rows


def write_images(
    folder: Path, count: int, *, size: tuple[int, int] = CAMERA_SIZE, boxes: int = 1
) -> Path:
    """Write JPEG files about as large as camera images, and their custom JSON file.

    Args:
        folder: existing folder.
        count: number of images, `<number>.jpg`.
        size: (height, width) of an image.
        boxes: number of boxes per image; every second one has an identity.

    Returns:
        Path of the JSON file.
    """
    generator = torch.Generator().manual_seed(0)
    images, annotations = [], []
    for number in range(count):
        name = f"{number:04d}.jpg"
        cv2.imwrite(str(folder / name), generate_image(number, size))
        images.append({"id": number, "file_name": name, "height": size[0], "width": size[1]})
        for row, (x0, y0, x1, y1) in enumerate(_generate_boxes(generator, size, boxes).tolist()):
            box = {"image_id": number, "bbox": [x0, y0, x1 - x0, y1 - y0]}
            annotations.append(box | {"person_id": row if row % 2 == 0 else UNLABELED})
    path = folder / "images.json"
    save_custom_json(path, images=images, annotations=annotations)
    return path


def generate_image(seed: int, size: tuple[int, int]) -> np.ndarray:
    """Generate smooth noise with some grain, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    height, width = size
    coarse = (height // _CELL + 1, width // _CELL + 1, 3)
    cells = rng.integers(0, 256, coarse, dtype=np.uint8)
    smooth = cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)
    grain = rng.integers(-_GRAIN, _GRAIN + 1, (height, width, 1), dtype=np.int16)
    return (smooth + grain).clip(0, 255).astype(np.uint8)


def _propose_near(targets: Instances, count: int) -> Instances:
    boxes = targets.gt_boxes.tensor
    boxes = boxes[torch.arange(count, device=boxes.device) % len(boxes)]
    size = boxes[:, 2:] - boxes[:, :2]
    shifted = boxes + _MAX_SHIFT * (size * (2 * torch.rand_like(size) - 1)).repeat(1, 2)
    logits = torch.zeros(count, device=boxes.device)
    return Instances(targets.image_size, proposal_boxes=Boxes(shifted), objectness_logits=logits)


def _generate_input(
    generator: torch.Generator, size: tuple[int, int], boxes: int, identities: int
) -> dict:
    height, width = size
    tensor = _generate_boxes(generator, size, boxes)
    example = {
        "image": torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator),
        "height": height,
        "width": width,
    }
    if not identities:
        return {**example, "query_boxes": Boxes(tensor), "query_ids": torch.arange(boxes)}
    pids = torch.randint(0, identities, (boxes,), generator=generator)
    unknown = torch.rand(boxes, generator=generator) > _LABELED
    instances = Instances(
        size,
        gt_boxes=Boxes(tensor),
        gt_classes=torch.zeros(boxes, dtype=torch.int64),
        gt_pids=pids.masked_fill(unknown, UNLABELED),
    )
    return {**example, "instances": instances}


def _generate_boxes(generator: torch.Generator, size: tuple[int, int], count: int) -> torch.Tensor:
    """Generate (count, 4) XYXY boxes in pixels, with heights uniform on a logarithmic scale."""
    height, width = size
    shares = torch.rand(count, 3, generator=generator)
    low, high = (math.log(limit * height) for limit in _HEIGHTS)
    tall = (low + shares[:, 0] * (high - low)).exp()
    wide = (_ASPECT * tall).clamp(max=width)
    left, top = shares[:, 1] * (width - wide), shares[:, 2] * (height - tall)
    return torch.stack([left, top, left + wide, top + tall], dim=1)
