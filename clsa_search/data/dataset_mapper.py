"""Records to model inputs: the image and everything drawn on it, transformed together."""

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances

from clsa_search.data.image_io import read_image
from clsa_search.errors import InputError

ANNOTATED = -1  # query id of a box that nobody asks for, to be described all the same


class PersonSearchDatasetMapper:
    """A record of a dataset to one input of PersonSearchRCNN.

    Detectron2's own mapper drops annotations at test time and knows no identities; a query's box
    has to follow the resizing of its image, hence this one.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        augmentations: list[T.Augmentation],
        image_format: str,
        annotated_boxes: bool = False,
    ) -> None:
        """
        Args:
            is_train: whether to produce `instances` (training) or queries (inference).
            augmentations: deterministic ones for inference.
            image_format: of PIL, or Detectron2's "BGR".
            annotated_boxes: whether inference is to describe annotated boxes too, as further
                queries of the id ANNOTATED.
        """
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.annotated_boxes = annotated_boxes

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool) -> dict:
        augmentations = utils.build_augmentation(cfg, is_train)
        if is_train and cfg.INPUT.CROP.ENABLED:
            augmentations.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        return {
            "is_train": is_train,
            "augmentations": augmentations,
            "image_format": cfg.INPUT.FORMAT,
        }

    def __call__(self, record: dict) -> dict:
        """
        Args:
            record: see `load_custom_json`; not modified.

        Returns:
            The record's own entries but its annotations and queries, and
            `image`: (3, H, W) tensor of the file's pixel values (see `read_image`), resized;
            in training `instances`: gt_boxes, gt_classes (0), gt_pids (UNLABELED where unknown);
            otherwise, where the image carries queries, `query_boxes` and `query_ids` (int64).
            Boxes are in the frame of `image`.

        Raises:
            InputError: the image is missing, unreadable or of another size than the record says.
        """
        image = read_image(record["file_name"], self.image_format)
        height, width = image.shape[:2]
        if (width, height) != (record["width"], record["height"]):
            raise InputError(
                f"{record['file_name']}: {width} x {height} pixels as viewed; "
                f"expected {record['width']} x {record['height']}, as its record says"
            )
        return self.convert(image, record)

    def convert(self, image: np.ndarray, record: dict) -> dict:
        """As :meth:`__call__`, of an image (H, W, 3) uint8 in `image_format` that is read already.

        Of the record only annotations and queries have to be there, as they apply.
        """
        aug_input = T.AugInput(image)
        transforms = self.augmentations(aug_input)
        image = aug_input.image
        size = image.shape[:2]
        example = {k: v for k, v in record.items() if k not in ("annotations", "queries")}
        example["image"] = torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1)))
        if self.is_train:
            example["instances"] = _people(record["annotations"], transforms, size)
        elif given := self._given_boxes(record):
            example["query_boxes"] = _boxes(given, transforms, size)
            example["query_ids"] = torch.tensor([one.get("query_id", ANNOTATED) for one in given])
        return example

    def _given_boxes(self, record: dict) -> list[dict]:
        people = record["annotations"] if self.annotated_boxes else []
        return [*record.get("queries", []), *people]


def _boxes(entries: list[dict], transforms: T.Transform, size: tuple[int, int]) -> Boxes:
    """The entries' boxes (XYXY, original image) in the transformed image of (height, width)."""
    boxes = np.array([e["bbox"] for e in entries], dtype=np.float64).reshape(-1, 4)
    boxes = Boxes(torch.as_tensor(transforms.apply_box(boxes), dtype=torch.float32))
    boxes.clip(size)
    return boxes


def _people(annotations: list[dict], transforms: T.Transform, size: tuple[int, int]) -> Instances:
    """The annotated people that are still there after the transforms."""
    people = Instances(size)
    people.gt_boxes = _boxes(annotations, transforms, size)
    people.gt_classes = torch.tensor([a["category_id"] for a in annotations], dtype=torch.int64)
    people.gt_pids = torch.tensor([a["person_id"] for a in annotations], dtype=torch.int64)
    return people[people.gt_boxes.nonempty(threshold=1.0)]
