"""From a record to a model input: the image and its boxes, transformed together."""

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances

from clsa_search.data.given_detections import GivenBoxes
from clsa_search.data.image_io import read_image
from clsa_search.errors import InputError


class PersonSearchDatasetMapper:
    """Map a record of a dataset to an input of PersonSearchRCNN.

    Detectron2's DatasetMapper knows no person ids and drops all boxes at test time, but query boxes
    have to follow the resizing of their image.

    Args:
        is_train: True for training examples, False for test inputs.
        augmentations: image transforms; deterministic ones for test inputs.
        image_format: channel order of the model, a mode of Pillow or Detectron2's "BGR".
        gt_boxes: whether test inputs hold the ground-truth boxes too.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        augmentations: list[T.Augmentation],
        image_format: str,
        gt_boxes: bool = False,
    ) -> None:
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.gt_boxes = gt_boxes

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool) -> dict:
        """Return the constructor arguments for a config."""
        augmentations = utils.build_augmentation(cfg, is_train)
        if is_train and cfg.INPUT.CROP.ENABLED:
            augmentations.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        return {
            "is_train": is_train,
            "augmentations": augmentations,
            "image_format": cfg.INPUT.FORMAT,
        }

    def __call__(self, record: dict) -> dict:
        """Read the image of a record and return the model input.

        Args:
            record: as returned by `load_custom_json`; not modified.

        Returns:
            The record's fields except `annotations` and `queries`, with boxes in the frame of the
            resized `image`, and

            - `image`: (3, H, W) uint8 tensor;
            - in training `instances`: gt_boxes, gt_classes (0), gt_pids (or UNLABELED);
            - in tests, if the record has queries, `query_boxes` (Boxes) and `query_ids` (int64);
            - in tests with `gt_boxes`, the ground-truth boxes as `gt_boxes` (Boxes);
            - in tests, if the record has boxes of another detector, `detections` (pred_boxes,
              scores, pred_classes).

        Raises:
            InputError: the image is missing, unreadable or of another size than in the record.
        """
        image = read_image(record["file_name"], self.image_format)
        height, width = image.shape[:2]
        if (width, height) != (record["width"], record["height"]):
            raise InputError(
                f"{record['file_name']}: {width} x {height} pixels as viewed; "
                f"expected {record['width']} x {record['height']}, as in the record of the dataset"
            )
        return self.convert(image, record)

    def convert(self, image: np.ndarray, record: dict) -> dict:
        """Return the model input of an image in memory (see :meth:`__call__`).

        Args:
            image: (H, W, 3) uint8 in `image_format`.
            record: needs only the boxes to use: `annotations`, `queries`, `detections` (GivenBoxes
                in pixels of the image).
        """
        aug_input = T.AugInput(image)
        transforms = self.augmentations(aug_input)
        image = aug_input.image
        size = image.shape[:2]
        example = {k: v for k, v in record.items() if k not in ("annotations", "queries")}
        example["image"] = torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1)))
        if self.is_train:
            example["instances"] = _to_instances(record["annotations"], transforms, size)
            return example
        if queries := record.get("queries"):
            example["query_boxes"] = _to_boxes(queries, transforms, size)
            example["query_ids"] = torch.tensor([query["query_id"] for query in queries])
        if self.gt_boxes:
            example["gt_boxes"] = _to_boxes(record["annotations"], transforms, size)
        if "detections" in record:
            example["detections"] = _to_detections(record["detections"], transforms, size)
        return example


def _to_detections(given: GivenBoxes, transforms: T.Transform, size: tuple[int, int]) -> Instances:
    """Return boxes of another detector in the form of the model's detections."""
    return Instances(
        size,
        pred_boxes=_transform(given.boxes, transforms, size),
        scores=torch.as_tensor(given.scores, dtype=torch.float32),
        pred_classes=torch.zeros(len(given), dtype=torch.int64),
    )


def _to_boxes(annotations: list[dict], transforms: T.Transform, size: tuple[int, int]) -> Boxes:
    """Return the boxes in the transformed image of size (height, width), clipped to it."""
    bboxes = np.array([a["bbox"] for a in annotations], dtype=np.float64).reshape(-1, 4)
    return _transform(bboxes, transforms, size)


def _transform(bboxes: np.ndarray, transforms: T.Transform, size: tuple[int, int]) -> Boxes:
    boxes = Boxes(torch.as_tensor(transforms.apply_box(bboxes), dtype=torch.float32))
    boxes.clip(size)
    return boxes


def _to_instances(
    annotations: list[dict], transforms: T.Transform, size: tuple[int, int]
) -> Instances:
    """Return the ground truth in the transformed image, without boxes that left the image."""
    instances = Instances(size)
    instances.gt_boxes = _to_boxes(annotations, transforms, size)
    instances.gt_classes = torch.tensor([a["category_id"] for a in annotations], dtype=torch.int64)
    instances.gt_pids = torch.tensor([a["person_id"] for a in annotations], dtype=torch.int64)
    return instances[instances.gt_boxes.nonempty(threshold=1.0)]
