"""Evaluator for Detectron2's `inference_on_dataset`: collects, writes and scores predictions."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm

from clsa_search.argument_checks import check_path, check_texts, check_type
from clsa_search.data.catalog import get_records
from clsa_search.errors import InputError
from clsa_search.evaluation.dataset_protocols import load_protocols
from clsa_search.evaluation.predictions import ImagePredictions, Predictions
from clsa_search.evaluation.predictions_file import PREDICTIONS_FILE, save_predictions
from clsa_search.evaluation.record_queries import image_key
from clsa_search.evaluation.scoring import Results, score_protocols
from clsa_search.evaluation.search_options import DEFAULTS, SearchOptions
from clsa_search.evaluation.shards import Images, ShardFolder
from clsa_search.structures import ImageDetections, Queries
from clsa_search.wording import count_noun

SHARD_FOLDER = "predictions.partial"
"""Name of the folder of shards in the output folder."""


class PersonSearchEvaluator(DatasetEvaluator):
    """Evaluator of detection and search; writes `predictions.npz`.

    With `gt_boxes` the file also holds the ground-truth boxes with their embeddings, and the
    results contain the upper bound of the re-ID ("gt_boxes").

    The order of images and their distribution over processes play no part. Repeated images
    of a padding sampler count once.

    Args:
        dataset_name: name or path, as for `clsa_search.data.get_records`.
        output_dir: folder for the predictions file; None writes no file.
        protocols: names for `load_protocols`; None for the dataset's own. With an empty sequence
            the predictions are written but not scored.
        options: options of the similarities; the file keeps detections below the threshold.
        gt_boxes: True if the model also embeds ground-truth boxes.
        distributed: gather the images of all processes; otherwise each process scores its own.
        meta: JSON values for the file (config, checksum of the weights); dataset and date are
            added.
        shard_size: number of images between two savings of a process for :meth:`restore`;
            0 saves none. It needs `output_dir`, and `meta` has to identify the model.
    """

    def __init__(
        self,
        dataset_name: str,
        *,
        output_dir: str | PathLike | None = None,
        protocols: Sequence[str] | None = None,
        options: SearchOptions = DEFAULTS,
        gt_boxes: bool = False,
        distributed: bool = True,
        meta: Mapping[str, Any] | None = None,
        shard_size: int = 0,
    ) -> None:
        check_type("dataset_name", dataset_name, str, "the name of a dataset")
        if protocols is not None:
            check_texts("protocols", protocols)
        check_type("options", options, SearchOptions, "SearchOptions")
        folder = None if output_dir is None else check_path("output_dir", output_dir)
        self._dataset_name = dataset_name
        self._output_dir = None if folder is None else Path(folder)
        self._protocols = protocols
        self._options = options
        self._gt_boxes = gt_boxes
        self._distributed = distributed
        self._meta = dict(meta or {})
        self._shard_size = shard_size
        self._shards: ShardFolder | None = None
        self._restored: Images = {}
        self.reset()

    def reset(self) -> None:
        """Drop the collected images; restored images stay, because they do not come again."""
        self._images: Images = {}
        self._pending: Images = {}

    def restore(self) -> set[str]:
        """Load the images of an interrupted run with the same model and dataset.

        Every process has to call it.

        Returns:
            Ids of the finished images of all processes; they need not be processed again.
        """
        shards = self._open_shards()
        if shards is None:
            return set()
        self._restored = shards.read()
        return set().union(*comm.all_gather(set(self._restored)))

    def process(self, inputs: Sequence[dict], outputs: Sequence[dict]) -> None:
        """Collect the predictions of some images.

        Args:
            inputs: model inputs with `image_id`.
            outputs: model outputs with `instances` (pred_boxes, scores, embeddings) and, if the
                input had them, `queries` (pred_boxes, query_ids, embeddings) and `gt_people`
                (pred_boxes, embeddings).
        """
        for image, output in zip(inputs, outputs, strict=True):
            image_id = image_key(image)
            predictions = _to_predictions(output, image_id, self._gt_boxes)
            self._images[image_id] = self._pending[image_id] = predictions
        shards = self._open_shards()
        if shards is not None and len(self._pending) >= self._shard_size:
            shards.write(self._pending)
            self._pending = {}

    def evaluate(self) -> Results:
        """Return the results of `score_protocols` on the main process, else an empty dict.

        Raises:
            InputError: images or queries of the dataset were not processed. Shards stay, so that
                these images can be processed later.
        """
        shards = self._open_shards()
        if shards is not None and self._pending:
            shards.write(self._pending)
            self._pending = {}
        parts = [self._restored | self._images]
        if self._distributed:
            comm.synchronize()
            parts = comm.gather(parts[0])
            if not comm.is_main_process():
                return OrderedDict()
        predictions, records = self._join(parts), get_records(self._dataset_name)
        if shards is not None:
            _check_complete(predictions, records, shards.folder)
        if self._output_dir is not None:
            save_predictions(predictions, self._output_dir / PREDICTIONS_FILE)
        if shards is not None:
            shards.clear()
        if self._protocols is not None and not self._protocols:
            return OrderedDict()
        build = self._options.build_protocol
        protocols = load_protocols(self._dataset_name, records, self._protocols, build=build)
        return score_protocols(predictions, records, protocols, self._options).results

    def _join(self, parts: Sequence[Images]) -> Predictions:
        images = {key: value for part in reversed(parts) for key, value in part.items()}
        date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        meta = {"dataset": self._dataset_name, "date": date} | self._meta
        return Predictions.from_images(images, meta)

    def _open_shards(self) -> ShardFolder | None:
        if self._shards is None and self._shard_size and self._output_dir is not None:
            dataset = [
                (image_key(record), record["annotations"], record.get("queries"))
                for record in get_records(self._dataset_name)
            ]
            settings = [self._meta, self._gt_boxes, dataset]
            self._shards = ShardFolder(self._output_dir / SHARD_FOLDER, settings)
        return self._shards


def _check_complete(predictions: Predictions, records: Sequence[dict], folder: Path) -> None:
    """Check that all images were processed; the error names the file of the first other one."""
    processed = set(predictions.image_ids.tolist())
    missing = [record["file_name"] for record in records if image_key(record) not in processed]
    if missing:
        others = f" and {count_noun(len(missing) - 1, 'other image')}" if len(missing) > 1 else ""
        raise InputError(
            f"{missing[0]}{others}: without predictions, so nothing is scored; expected images "
            f"that can be read: repair them and repeat the command, which continues from {folder}"
        )


def _to_predictions(
    output: Mapping[str, Instances], image_id: str, gt_boxes: bool
) -> ImagePredictions:
    detections = output["instances"]
    none = Instances(
        detections.image_size,
        pred_boxes=detections.pred_boxes[:0],
        query_ids=detections.pred_classes[:0],
        embeddings=detections.embeddings[:0],
    )
    queries = output.get("queries", none)
    ground_truth = output.get("gt_people", none)
    certain = torch.ones(len(ground_truth))
    return ImagePredictions(
        detections=_to_detections(detections, detections.scores),
        queries=Queries(
            ids=_to_array(queries.query_ids),
            boxes=_to_array(queries.pred_boxes.tensor),
            embeddings=_to_array(queries.embeddings),
            image_ids=np.full(len(queries), image_id),
        ),
        ground_truth=_to_detections(ground_truth, certain) if gt_boxes else None,
    )


def _to_detections(instances: Instances, scores: torch.Tensor) -> ImageDetections:
    return ImageDetections(
        boxes=_to_array(instances.pred_boxes.tensor),
        scores=_to_array(scores),
        embeddings=_to_array(instances.embeddings),
    )


def _to_array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
