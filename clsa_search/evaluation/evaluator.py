"""Detectron2's evaluation interface: collect from every process, write the files, score them."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm

from clsa_search.data.catalog import get_records
from clsa_search.evaluation.predictions import ImagePredictions, Predictions
from clsa_search.evaluation.predictions_file import save_predictions
from clsa_search.evaluation.protocol import load_protocols
from clsa_search.evaluation.scoring import score_protocols
from clsa_search.evaluation.search_options import DEFAULTS, SearchOptions
from clsa_search.evaluation.shards import Images, ShardFolder

PREDICTIONS_FILE = "predictions.npz"
GT_PREDICTIONS_FILE = "predictions_gt.npz"
SHARD_FOLDER = "predictions.partial"
_KIND_META = {"found": {}, "gt": {"boxes": "annotated"}}


class PersonSearchEvaluator(DatasetEvaluator):
    """Detection and search metrics of a dataset; leaves `predictions.npz` behind.

    Where the model described annotated boxes too (see `process`), `predictions_gt.npz` holds them
    as if they had been detected, and "gt_boxes" the metrics: the upper bound of the re-ID.

    Neither the order of images nor how they are spread over processes matters, and an image that
    comes twice, as padding samplers make it, counts once.
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
        """
        Args:
            dataset_name: as `clsa_search.data.catalog.get_records` takes it.
            output_dir: where the predictions file goes; none is written without.
            protocols: names as `load_protocols` takes them; by default the dataset's own. Where
                there are none the predictions are written but not scored.
            options: how similarities are made; detections below the threshold stay in the file.
            gt_boxes: whether the model describes annotated boxes too.
            distributed: gather from all processes; otherwise each scores what it saw.
            meta: for the file: what made it (config, weights' hash); dataset and date are added.
            shard_size: save what is done every so many images, for :meth:`restore`; 0 does not. It
                needs an output_dir, and meta that changes whenever the model does.
        """
        self._dataset_name = dataset_name
        self._output_dir = None if output_dir is None else Path(output_dir)
        self._protocols = protocols
        self._options = options
        self._distributed = distributed
        self._meta = dict(meta or {})
        self._shard_size = shard_size if output_dir is not None else 0
        # what is written last tells that a shard is whole
        self._shards: ShardFolder | None = None
        self._kinds = ["gt", "found"] if gt_boxes else ["found"]
        self._restored: dict[str, Images] = {kind: {} for kind in self._kinds}
        self.reset()

    def reset(self) -> None:
        """Forget what was collected; what was restored stays, as it will not come again."""
        self._images: dict[str, Images] = {kind: {} for kind in self._kinds}
        self._pending: dict[str, Images] = {kind: {} for kind in self._kinds}

    def restore(self) -> set[str]:
        """Take up what an interrupted run of the same model on the same dataset left behind.

        Every process has to call it.

        Returns:
            The images that are done and need not be shown again, over all processes.
        """
        if not self._shard_size:
            return set()
        self._restored = self._open_shards().read(self._kinds)
        return set().union(*comm.all_gather(set(self._restored["found"])))

    def process(self, inputs: Sequence[dict], outputs: Sequence[dict]) -> None:
        """Keep detections and queries of each image, on the CPU.

        Args:
            inputs: with `image_id`.
            outputs: with `instances` (pred_boxes, scores, embeddings) and, if the input had
                them, `queries` (pred_boxes, query_ids, embeddings) and `gt_people` (pred_boxes,
                embeddings).
        """
        for image, output in zip(inputs, outputs, strict=True):
            arrays = _to_arrays(output)
            for kind in self._kinds:
                self._images[kind][image["image_id"]] = arrays[kind]
                self._pending[kind][image["image_id"]] = arrays[kind]
        if 0 < self._shard_size <= len(self._pending["found"]):
            self._open_shards().write(self._pending)
            self._pending = {kind: {} for kind in self._kinds}

    def evaluate(self) -> OrderedDict[str, dict[str, float]]:
        """The results of `score_protocols` on the main process, {} on others and if not scored.

        Raises:
            InputError: images or queries of the dataset were not processed.
        """
        share = {kind: self._restored[kind] | self._images[kind] for kind in self._kinds}
        shares = [share]
        if self._distributed:
            comm.synchronize()
            shares = comm.gather(share)
            if not comm.is_main_process():
                return OrderedDict()
        predictions = {kind: self._join(kind, shares) for kind in self._kinds}
        if self._output_dir is not None:
            for kind, name in (("gt", GT_PREDICTIONS_FILE), ("found", PREDICTIONS_FILE)):
                if kind in predictions:
                    save_predictions(predictions[kind], self._output_dir / name)
        if self._shard_size:
            self._open_shards().clear()
        if self._protocols is not None and not self._protocols:
            return OrderedDict()
        records, build = get_records(self._dataset_name), self._options.build_protocol
        return score_protocols(
            predictions["found"],
            records,
            load_protocols(self._dataset_name, records, self._protocols, build=build),
            self._options,
            gt_predictions=predictions.get("gt"),
        ).results

    def _join(self, kind: str, shares: Sequence[dict[str, Images]]) -> Predictions:
        images = {key: value for share in reversed(shares) for key, value in share[kind].items()}
        date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        meta = {"dataset": self._dataset_name, "date": date} | self._meta
        return Predictions.from_images(images, meta | _KIND_META[kind])

    def _open_shards(self) -> ShardFolder:
        if self._shards is None:
            asked = [
                (record["image_id"], record["annotations"], record.get("queries"))
                for record in get_records(self._dataset_name)
            ]
            made_by = [self._meta, self._kinds, asked]
            self._shards = ShardFolder(self._output_dir / SHARD_FOLDER, made_by)
        return self._shards


def _to_arrays(output: dict[str, Instances]) -> Images:
    """What was found in an image and, as if it had been found, what is annotated in it."""
    found = output["instances"]
    nobody = Instances(
        found.image_size,
        pred_boxes=found.pred_boxes[:0],
        query_ids=found.pred_classes[:0],
        embeddings=found.embeddings[:0],
    )
    queries, people = output.get("queries", nobody), output.get("gt_people", nobody)
    of_queries = (queries.query_ids, queries.pred_boxes.tensor, queries.embeddings)
    certain = people.pred_boxes.tensor.new_ones(len(people))
    return {
        "found": _to_image(found.pred_boxes.tensor, found.scores, found.embeddings, *of_queries),
        "gt": _to_image(people.pred_boxes.tensor, certain, people.embeddings, *of_queries),
    }


def _to_image(*tensors: torch.Tensor) -> ImagePredictions:
    return ImagePredictions(*(tensor.detach().cpu().numpy() for tensor in tensors))
