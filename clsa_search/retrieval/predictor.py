"""A trained model applied to images in memory: detect people, compute their embeddings.

Shape letters: m boxes of an image, D embedding width, H x W image size in pixels.
"""

import os
import threading
from collections.abc import Sequence
from itertools import groupby
from numbers import Real

import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from numpy.typing import ArrayLike

from clsa_search.argument_checks import check_path, check_type
from clsa_search.data.dataset_mapper import PersonSearchDatasetMapper
from clsa_search.data.given_detections import GivenBoxes
from clsa_search.engine import TrainedModel, load_trained_model
from clsa_search.engine.memory import reported_out_of_memory
from clsa_search.engine.precision import prepare_for_inference
from clsa_search.errors import InputError
from clsa_search.structures import DEFAULT_SCORE_THRESHOLD, ImageDetections
from clsa_search.wording import count_noun

MAX_ASPECT_RATIO = 100
"""Longest accepted side of an image, relative to its other side."""


class PersonSearchPredictor:
    """Detector and embedding of a trained model for RGB arrays; results equal the evaluation's.

    Threads may share it: the model computes one batch at a time.

    Args:
        trained: model with its config; MODEL.ROI_HEADS.SCORE_THRESH_TEST drops detections.
    """

    def __init__(self, trained: TrainedModel) -> None:
        self.weights_sha256 = trained.weights_sha256
        self.min_score: float = trained.cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST
        self.model = trained.model
        self._mapper = PersonSearchDatasetMapper(trained.cfg, is_train=False)
        self._lock = threading.Lock()  # held until outputs are copied: graphs overwrite them
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
        """Load a checkpoint and optimize the model for inference.

        Args:
            weights: checkpoint file.
            config_file: config of the checkpoint; by default config.yaml beside it.
            device: device of the model; by default a GPU if there is one.
            dtype: value of TEST.DTYPE; by default the config's.
            min_score: detections with a lower score are dropped.

        Raises:
            InputError: a value is out of range, or see :func:`load_trained_model`.
        """
        weights = check_path("weights", weights)
        if config_file is not None:
            config_file = check_path("config_file", config_file)
        check_type("min_score", min_score, Real, "a number")
        if not 0 <= min_score <= 1:
            raise InputError(f"min_score: {min_score}; expected a score from 0 to 1")
        opts: list = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", min_score]
        opts += ["MODEL.DEVICE", device] if device else []
        opts += ["TEST.DTYPE", dtype] if dtype else []
        trained = load_trained_model(weights, config_file, opts)
        prepare_for_inference(trained.model, trained.cfg)
        return cls(trained)

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.model.device

    def prepare(
        self,
        image: np.ndarray,
        queries: Sequence[dict] = (),
        detections: GivenBoxes | None = None,
    ) -> dict:
        """Resize an image to the model's input; safe to call from several threads.

        Args:
            image: (H, W, 3) RGB uint8.
            queries: given boxes, as in a dataset record.
            detections: boxes of another detector in pixels of the image, used by :meth:`detect`
                in place of the model's detector.

        Returns:
            Input of the model, accepted by :meth:`detect`.

        Raises:
            InputError: the array is not such an image.
        """
        check_image(image)
        record: dict = {"height": image.shape[0], "width": image.shape[1], "queries": list(queries)}
        if detections is not None:
            record["detections"] = detections
        return self._mapper.convert(image[..., ::-1] if self._is_bgr else image, record)

    def detect(self, images: Sequence[np.ndarray | dict]) -> list[ImageDetections]:
        """Detect the people of each image.

        Neighboring images of one size form a batch; the detections do not depend on it.

        Args:
            images: (H, W, 3) RGB uint8 arrays, or results of :meth:`prepare`.

        Raises:
            InputError: an array is not such an image.
        """
        inputs = (image if isinstance(image, dict) else self.prepare(image) for image in images)
        detections: list[ImageDetections] = []
        for _, group in groupby(inputs, key=_batch_key):
            batch = list(group)
            given = [x["detections"] for x in batch] if "detections" in batch[0] else None
            with self._lock:
                detections += [_to_detections(x["instances"]) for x in self._infer(batch, given)]
        return detections

    def embed(self, image: np.ndarray, boxes: ArrayLike) -> np.ndarray:
        """Compute the embeddings (m, D) of given boxes.

        Args:
            image: (H, W, 3) RGB uint8.
            boxes: (m, 4) XYXY in pixels of the image, clipped to it.

        Raises:
            InputError: the array is not such an image, there is no box, or a box covers less than
                a pixel of the image.
        """
        check_image(image)
        boxes = check_boxes(boxes, image)
        queries = [{"query_id": i, "bbox": box} for i, box in enumerate(boxes)]
        example = self.prepare(image, queries)
        size = example["image"].shape[-2:]
        no_detections = Instances((size[0], size[1]), pred_boxes=Boxes(torch.empty(0, 4)))
        with self._lock:
            (output,) = self._infer([example], [no_detections.to(self.device)])
            return output["queries"].embeddings.float().cpu().numpy()

    @torch.inference_mode()
    def _infer(
        self, inputs: list[dict], detected_instances: list[Instances] | None = None
    ) -> list[dict]:
        batch = count_noun(len(inputs), "image")
        with reported_out_of_memory(
            f"a batch of {batch}", "smaller images, or fewer (--batch-size)"
        ):
            return self.model.inference(inputs, detected_instances)


def check_image(image: np.ndarray, name: str = "image") -> None:
    """Check the shape and type of an image.

    Args:
        image: array from a caller.
        name: name of the image in messages.

    Raises:
        InputError: the array is not (H, W, 3) RGB uint8, or too narrow for resizing.
    """
    is_array = isinstance(image, np.ndarray) and image.ndim == 3
    if not is_array or image.shape[2] != 3 or image.dtype != np.uint8:
        given = f"{np.shape(image)} {getattr(image, 'dtype', type(image).__name__)}"
        raise InputError(f"{name}: {given}; expected (H, W, 3) RGB uint8")
    height, width = image.shape[:2]
    if max(height, width, 1) > MAX_ASPECT_RATIO * min(height, width):
        raise InputError(
            f"{name}: {width} x {height} pixels; expected a longer side of at most "
            f"{MAX_ASPECT_RATIO} times the shorter side"
        )


def check_boxes(boxes: ArrayLike, image: np.ndarray) -> np.ndarray:
    """Return boxes (m, 4) XYXY, clipped to their image.

    Raises:
        InputError: a box has not four finite numbers, or less than a pixel of it is left.
    """
    height, width = image.shape[:2]
    try:
        given = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"box: {boxes!r}; expected four numbers x1, y1, x2, y2") from error
    clipped = given.clip(0, [width, height, width, height])
    is_valid = np.isfinite(given).all(axis=1) & (clipped[:, 2:] - clipped[:, :2] >= 1).all(axis=1)
    if not len(given) or not is_valid.all():
        wrong = given[is_valid.argmin()].tolist() if len(given) else "none"
        raise InputError(
            f"box: {wrong}; expected x1 < x2 and y1 < y2 in pixels, "
            f"inside the image of {width} x {height}"
        )
    return clipped


def _batch_key(x: dict) -> tuple[int, int, bool]:
    return x["height"], x["width"], "detections" in x


def _to_detections(instances: Instances) -> ImageDetections:
    fields = instances.pred_boxes.tensor, instances.scores, instances.embeddings
    return ImageDetections(*(field.float().cpu().numpy() for field in fields))
