"""Models with random weights, random pictures and embeddings: speed depends on none of them.

Every picture holds a stated number of people, whose boxes are given: what a random detector finds
is no measure of anything.
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

from clsa_search.data.datasets.custom_json import save_custom_json
from clsa_search.structures import UNLABELED

FIELD_SIZE = (900, 1500)  # (height, width): the field's largest test picture
CAMERA_SIZE = (1080, 1920)  # (height, width): PRW's pictures, before they are resized
_ASPECT = 0.4  # width / height of a person
_HEIGHTS = (0.08, 0.6)  # of a person, in picture heights
_LABELED = 0.5  # share of the people whose identity is known
_MOVED = 0.1  # of a person's size, at most, between a box and a proposal: IoU 0.68 and more
_BLOTCH = 16  # pixels of one
_GRAIN = 4  # gray levels to either side; with the blotches a JPEG file has 2 bits a pixel


def with_options(cfg: CfgNode, *opts: object) -> CfgNode:
    """A copy of a config with KEY, VALUE, KEY, VALUE changed."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.merge_from_list(list(opts))
    return cfg


def build_random_model(
    cfg: CfgNode, device: torch.device, *, identities: int = 0, detections: int = 0
) -> nn.Module:
    """A model of a config, in evaluation mode.

    Args:
        cfg: not modified; its MODEL.WEIGHTS are not read.
        device: where it is to be.
        identities: P of the classifiers; 0 for inference.
        detections: boxes that it takes for people in each picture, wherever they are.
    """
    cfg = with_options(
        cfg,
        *("MODEL.DEVICE", str(device), "MODEL.REID.NUM_IDS", identities),
        *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0 if detections else 1.0),
        *("MODEL.ROI_HEADS.NMS_THRESH_TEST", 1.0),  # boxes at random lie over each other
        *("TEST.DETECTIONS_PER_IMAGE", detections),
    )
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    if detections:
        # boxes stay anchors, each as likely a person as not: at random many would be empty
        rpn, boxes = model.proposal_generator.rpn_head, model.roi_heads.box_predictor
        for layer in (rpn.anchor_deltas, boxes.bbox_pred, boxes.cls_score):
            nn.init.zeros_(layer.weight)
    return model


def propose_near_boxes(model: nn.Module, count: int) -> None:
    """Let a random model propose, in training, what a trained one does: people, again and again.

    Args:
        model: proposes nobody by itself; modified.
        count: of an image's proposals that lie near its people.
    """

    def add(module: nn.Module, args: tuple, result: tuple) -> tuple:
        proposals, losses = result
        near = [_move(people, count) for people in args[2]]
        return [Instances.cat(pair) for pair in zip(proposals, near, strict=True)], losses

    model.proposal_generator.register_forward_hook(add)


def generate_inputs(
    count: int, *, size: tuple[int, int] = FIELD_SIZE, people: int, identities: int = 0
) -> list[dict]:
    """Inputs of the model, as PersonSearchDatasetMapper makes them.

    Args:
        count: of pictures.
        size: (height, width) of each.
        people: of each.
        identities: P, to draw `instances` for training; 0 gives queries, for inference.
    """
    generator = torch.Generator().manual_seed(0)
    return [_draw_input(generator, size, people, identities) for _ in range(count)]


def generate_embeddings(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    """Unit rows (count, width) float32 of random directions."""
    return normalize(rng.standard_normal((count, width), dtype=np.float32))


def normalize(rows: np.ndarray) -> np.ndarray:
    """Make rows (N, D) unit where they are: they may be most of the memory."""
    rows /= np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    return rows


def write_images(
    folder: Path, count: int, *, size: tuple[int, int] = CAMERA_SIZE, people: int = 1
) -> Path:
    """JPEG files of smooth noise, about as large as photographs are, and their own-data file.

    Args:
        folder: where to write.
        count: of pictures, `<number>.jpg`.
        size: (height, width) of each.
        people: annotated in each; every second one has an identity.

    Returns:
        Path of the JSON.
    """
    generator = torch.Generator().manual_seed(0)
    images, annotations = [], []
    for number in range(count):
        name = f"{number:04d}.jpg"
        cv2.imwrite(str(folder / name), generate_image(number, size))
        images.append({"id": number, "file_name": name, "height": size[0], "width": size[1]})
        for row, (x0, y0, x1, y1) in enumerate(_draw_boxes(generator, size, people).tolist()):
            box = {"image_id": number, "bbox": [x0, y0, x1 - x0, y1 - y0]}
            annotations.append(box | {"person_id": row if row % 2 == 0 else UNLABELED})
    path = folder / "photographs.json"
    save_custom_json(path, images=images, annotations=annotations)
    return path


def generate_image(seed: int, size: tuple[int, int]) -> np.ndarray:
    """Smooth noise with some grain, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    height, width = size
    coarse = (height // _BLOTCH + 1, width // _BLOTCH + 1, 3)
    blotches = rng.integers(0, 256, coarse, dtype=np.uint8)
    smooth = cv2.resize(blotches, (width, height), interpolation=cv2.INTER_CUBIC)
    grain = rng.integers(-_GRAIN, _GRAIN + 1, (height, width, 1), dtype=np.int16)
    return (smooth + grain).clip(0, 255).astype(np.uint8)


def _move(people: Instances, count: int) -> Instances:
    """Proposals near people."""
    boxes = people.gt_boxes.tensor
    boxes = boxes[torch.arange(count, device=boxes.device) % len(boxes)]
    size = boxes[:, 2:] - boxes[:, :2]
    moved = boxes + _MOVED * (size * (2 * torch.rand_like(size) - 1)).repeat(1, 2)
    surest = torch.zeros(count, device=boxes.device)
    return Instances(people.image_size, proposal_boxes=Boxes(moved), objectness_logits=surest)


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
    unknown = torch.rand(people, generator=generator) > _LABELED
    instances = Instances(
        size,
        gt_boxes=boxes,
        gt_classes=torch.zeros(people, dtype=torch.int64),
        gt_pids=pids.masked_fill(unknown, UNLABELED),
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
