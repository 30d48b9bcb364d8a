"""Detectron2's evaluation interface: collect from every process, write the file, score it."""

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from os import PathLike
from pathlib import Path
from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm

from clsa_search.data.catalog import get_records
from clsa_search.evaluation.detection import evaluate_detection
from clsa_search.evaluation.metrics import SearchResult, evaluate_chance, evaluate_search
from clsa_search.evaluation.predictions import (
    ImagePredictions,
    Predictions,
    check_predictions,
)
from clsa_search.evaluation.predictions_file import save_predictions
from clsa_search.evaluation.protocol import full_gallery_protocol

PREDICTIONS_FILE = "predictions.npz"

logger = logging.getLogger(__name__)


def score_predictions(
    predictions: Predictions,
    records: Sequence[dict],
    *,
    score_threshold: float = 0.5,
    source: str | PathLike = "predictions",
) -> tuple[OrderedDict[str, dict[str, float]], SearchResult]:
    """All metrics of predictions of a dataset, in percent, and what each query found.

    Args:
        predictions: well-formed ones, as loaded.
        records: the dataset's (`clsa_search.data`).
        score_threshold: detections below do not exist.
        source: of the predictions, for errors.

    Returns:
        {"detection": {"recall", "AP"}, "search": {"mAP", "top1", "top5", "top10"}, "chance": as
        search, with the same detections ranked at random}; see `clsa_search.evaluation.metrics`.

    Raises:
        InputError: the predictions are not of these records.
    """
    check_predictions(predictions, records, source)
    protocol = full_gallery_protocol(records)
    search = evaluate_search(predictions, protocol, score_threshold=score_threshold)
    if lost := int((search.targets == 0).sum()):
        logger.warning("%d of %d queries have nobody to find", lost, len(search.targets))
    results = OrderedDict(
        detection=evaluate_detection(predictions, records, score_threshold=score_threshold),
        search=search.metrics(),
        chance=evaluate_chance(predictions, protocol, score_threshold=score_threshold),
    )
    return results, search


class PersonSearchEvaluator(DatasetEvaluator):
    """Detection and search metrics of a dataset; leaves `predictions.npz` behind.

    Neither the order of images nor how they are spread over processes matters, and an image that
    comes twice, as padding samplers make it, counts once.
    """

    def __init__(
        self,
        dataset_name: str,
        *,
        output_dir: str | PathLike | None = None,
        score_threshold: float = 0.5,
        distributed: bool = True,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            dataset_name: as `clsa_search.data.catalog.get_records` takes it.
            output_dir: where the predictions file goes; none is written without.
            score_threshold: detections below do not count (they stay in the file).
            distributed: gather from all processes; otherwise each scores what it saw.
            meta: for the file: what made it (config, weights' hash); dataset and date are added.
        """
        self._dataset_name = dataset_name
        self._output_dir = output_dir
        self._score_threshold = score_threshold
        self._distributed = distributed
        self._meta = dict(meta or {})
        self._images: dict[str, ImagePredictions] = {}

    def reset(self) -> None:
        """Forget what was collected."""
        self._images = {}

    def process(self, inputs: Sequence[dict], outputs: Sequence[dict]) -> None:
        """Keep detections and queries of each image, on the CPU.

        Args:
            inputs: with `image_id`.
            outputs: with `instances` (pred_boxes, scores, reid_features) and, where the input
                carried some, `queries` (pred_boxes, query_ids, reid_features).
        """
        for image, output in zip(inputs, outputs, strict=True):
            self._images[image["image_id"]] = _to_arrays(output)

    def evaluate(self) -> OrderedDict[str, dict[str, float]]:
        """The results of `score_predictions` on the main process, {} on others.

        Raises:
            InputError: images or queries of the dataset were not processed.
        """
        shares = [self._images]
        if self._distributed:
            comm.synchronize()
            shares = comm.gather(self._images)
            if not comm.is_main_process():
                return OrderedDict()
        images = {key: value for share in reversed(shares) for key, value in share.items()}
        predictions = Predictions.from_images(images, self._describe())
        if self._output_dir is not None:
            save_predictions(predictions, Path(self._output_dir) / PREDICTIONS_FILE)
        records = get_records(self._dataset_name)
        results, _ = score_predictions(predictions, records, score_threshold=self._score_threshold)
        return results

    def _describe(self) -> dict[str, Any]:
        date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return {"dataset": self._dataset_name, "date": date} | self._meta


def _to_arrays(output: dict[str, Instances]) -> ImagePredictions:
    found = output["instances"]
    nobody = Instances(
        found.image_size,
        pred_boxes=found.pred_boxes[:0],
        query_ids=found.pred_classes[:0],
        reid_features=found.reid_features[:0],
    )
    queries = output.get("queries", nobody)
    tensors = (
        found.pred_boxes.tensor,
        found.scores,
        found.reid_features,
        queries.query_ids,
        queries.pred_boxes.tensor,
        queries.reid_features,
    )
    return ImagePredictions(*(tensor.detach().cpu().numpy() for tensor in tensors))
