"""From the record of a crop to an input of the re-ID branch alone.

h x w crop size of the model.
"""

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data.detection_utils import convert_PIL_to_numpy
from PIL import Image

from clsa_search.data.image_io import read_image
from clsa_search.structures import UNLABELED


def uses_crops(cfg: CfgNode) -> bool:
    """Return whether the inputs of a config's model are crops of one size."""
    return cfg.MODEL.META_ARCHITECTURE == "PersonReID"


class CropMapper:
    """Map a record of a crop to an input of PersonReID.

    Args:
        is_train: True for training examples, False for test inputs.
        crop_size: (height, width) of the input.
        image_format: channel order of the model, a mode of Pillow or Detectron2's "BGR".
        flip: probability of a horizontal flip in training.
        crops: (N, h, w, 3) uint8 pixels of all crops, see `load_crops`; None reads the files.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        crop_size: tuple[int, int],
        image_format: str,
        flip: float,
        crops: np.ndarray | None = None,
    ) -> None:
        self.is_train = is_train
        self.crop_size = crop_size
        self.image_format = image_format
        self.flip = flip
        self.crops = crops

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool) -> dict:
        """Return the constructor arguments for a config."""
        return {
            "is_train": is_train,
            "crop_size": tuple(cfg.MODEL.REID.CROP_SIZE),
            "image_format": cfg.INPUT.FORMAT,
            "flip": 0.5 if cfg.INPUT.RANDOM_FLIP == "horizontal" else 0.0,
        }

    def __call__(self, record: dict) -> dict:
        """Return the model input of a record.

        Args:
            record: record of a crop; `row` is its position in `crops`.

        Returns:
            The record's fields except `annotations` and `queries`, `image` (3, h, w) uint8 tensor;
            in training `person_id`; in tests, for a query, `query_ids` (1,) int64.

        Raises:
            InputError: the image is missing or unreadable.
        """
        example = {k: v for k, v in record.items() if k not in ("annotations", "queries")}
        pixels = self.read(record) if self.crops is None else self.crops[record["row"]]
        if self.is_train:
            boxes = record["annotations"]
            example["person_id"] = boxes[0]["person_id"] if boxes else UNLABELED
            if np.random.rand() < self.flip:
                pixels = pixels[:, ::-1]
        elif queries := record.get("queries"):
            example["query_ids"] = torch.tensor([queries[0]["query_id"]])
        example["image"] = torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return example

    def read(self, record: dict) -> np.ndarray:
        """Read (h, w, 3) uint8 pixels of a crop from its file."""
        return self.cut(read_image(record["file_name"], "RGB"), record)

    def cut(self, image: np.ndarray, record: dict) -> np.ndarray:
        """Cut a crop out of an image and resize it; the filter averages over each output pixel.

        Args:
            image: (H, W, 3) RGB uint8 pixels of the record's file.
            record: record of the crop.

        Returns:
            (h, w, 3) uint8 in `image_format`.
        """
        height, width = self.crop_size
        resized = Image.fromarray(image).resize(
            (width, height), Image.Resampling.BILINEAR, box=record.get("crop")
        )
        return convert_PIL_to_numpy(resized, self.image_format)
