"""The trained model on pictures at hand: who is in them, and what describes each.

m people of a picture, D width of a embedding, H x W a picture in pixels.
"""

import os
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from clsa_search.data.dataset_mapper import PersonSearchDatasetMapper
from clsa_search.engine import TrainedModel, load_trained_model
from clsa_search.engine.precision import prepare_for_inference
from clsa_search.errors import InputError
from clsa_search.structures import DEFAULT_SCORE_THRESHOLD, ImageDetections

MOST_ELONGATED = 100  # long side of a picture to its short side


class PersonSearchPredictor:
    """Finds and describes people in RGB arrays, exactly as evaluation does in files."""

    def __init__(self, trained: TrainedModel) -> None:
        """
        Args:
            trained: detections below its MODEL.ROI_HEADS.SCORE_THRESH_TEST do not exist.
        """
        self.weights_sha256 = trained.weights_sha256
        self.min_score = trained.cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST
        self.model = trained.model
        self._mapper = PersonSearchDatasetMapper(trained.cfg, is_train=False)
        self._is_bgr = trained.cfg.INPUT.FORMAT == "BGR"

    @classmethod
    def load(
        cls,
        weights: str | os.PathLike,
        config_file: str | os.PathLike | None = None,
        *,
        device: str | None = None,
        dtype: str | None = None,
        min_score: float = DEFAULT_SCORE_THRESHOLD,
    ) -> "PersonSearchPredictor":
        """From a checkpoint; see :func:`load_trained_model`. The model is tuned for inference.

        Args:
            weights, config_file: the checkpoint, and its config if it does not lie beside it.
            device: by default a GPU, where there is one.
            dtype: TEST.DTYPE, by default the config's.
            min_score: detections below do not exist.
        """
        if not 0 <= min_score <= 1:
            raise InputError(f"min_score: {min_score}; expected a score from 0 to 1")
        opts = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", min_score]
        opts += ["MODEL.DEVICE", device] if device else []
        opts += ["TEST.DTYPE", dtype] if dtype else []
        trained = load_trained_model(weights, config_file, opts)
        prepare_for_inference(trained.model, trained.cfg)
        return cls(trained)

    @property
    def device(self) -> torch.device:
        """Of the model."""
        return self.model.device

    def prepare(self, image: np.ndarray, queries: Sequence[dict] = ()) -> dict:
        """Bring an image to the model's size, as :meth:`detect` takes it; thread-safe.

        Args:
            image: (H, W, 3) RGB uint8.
            queries: boxes that are to be described, as the mapper takes them.

        Raises:
            InputError: the array is no such picture.
        """
        check_image(image)
        record = {"height": image.shape[0], "width": image.shape[1], "queries": list(queries)}
        return self._mapper.convert(image[..., ::-1] if self._is_bgr else image, record)

    def detect(self, images: Sequence[np.ndarray | dict]) -> list[ImageDetections]:
        """The people of each picture.

        Pictures of one size that follow each other are computed together; what is found does not
        depend on it.

        Args:
            images: (H, W, 3) RGB uint8, or what :meth:`prepare` made of one.

        Raises:
            InputError: an array is no such picture.
        """
        inputs = (image if isinstance(image, dict) else self.prepare(image) for image in images)
        found: list[ImageDetections] = []
        for _, group in groupby(inputs, key=itemgetter("height", "width")):
            found += [_as_people(output["instances"]) for output in self._infer(list(group))]
        return found

    def embed(self, image: np.ndarray, boxes: Sequence[Sequence[float]]) -> np.ndarray:
        """Embeddings (m, D) of people whose boxes are known.

        Args:
            image: (H, W, 3) RGB uint8.
            boxes: (m, 4) XYXY in its pixels; what reaches beyond the picture is cut off.

        Raises:
            InputError: the array is no such picture, there is no box, or one does not show at
                least a pixel of the picture.
        """
        boxes = check_boxes(boxes, image)
        queries = [{"query_id": i, "bbox": box} for i, box in enumerate(boxes)]
        example = self.prepare(image, queries)
        nobody = Instances(tuple(example["image"].shape[-2:]), pred_boxes=Boxes(torch.empty(0, 4)))
        (output,) = self._infer([example], [nobody.to(self.device)])
        return output["queries"].embeddings.float().cpu().numpy()

    @torch.inference_mode()
    def _infer(self, inputs: list[dict], known: list[Instances] | None = None) -> list[dict]:
        return self.model.inference(inputs, known)


def check_image(image: np.ndarray, name: str = "picture") -> None:
    """
    Raises:
        InputError: not (H, W, 3) RGB uint8, or so narrow that nothing is left of it when it is
            brought to the model's size.
    """
    if np.ndim(image) != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        found = f"{np.shape(image)} {getattr(image, 'dtype', type(image).__name__)}"
        raise InputError(f"{name}: {found}; expected (H, W, 3) RGB uint8")
    height, width = image.shape[:2]
    if max(height, width) > MOST_ELONGATED * min(height, width):
        raise InputError(
            f"{name}: {width} x {height} pixels; expected sides of which none is more than "
            f"{MOST_ELONGATED} times the other"
        )


def check_boxes(boxes: Sequence[Sequence[float]], image: np.ndarray) -> np.ndarray:
    """Boxes (m, 4), cut at the borders of their picture.

    Raises:
        InputError: they are not four finite numbers each, or less than a pixel remains of one.
    """
    height, width = image.shape[:2]
    try:
        given = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    except ValueError as error:
        raise InputError(f"box: {boxes}; expected four numbers x1, y1, x2, y2") from error
    cut = given.clip(0, [width, height, width, height])
    is_right = np.isfinite(given).all(axis=1) & (cut[:, 2:] - cut[:, :2] >= 1).all(axis=1)
    if not len(given) or not is_right.all():
        wrong = given[is_right.argmin()].tolist() if len(given) else "none"
        raise InputError(
            f"box: {wrong}; expected x1 < x2 and y1 < y2 in pixels, "
            f"inside the picture of {width} x {height}"
        )
    return cut


def _as_people(found: Instances) -> ImageDetections:
    fields = found.pred_boxes.tensor, found.scores, found.embeddings
    return ImageDetections(*(field.float().cpu().numpy() for field in fields))
