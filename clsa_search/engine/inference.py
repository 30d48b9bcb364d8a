"""Predictions of a checkpoint for whole datasets; an interrupted run can be continued."""

import logging
import os
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from detectron2.config import CfgNode
from detectron2.evaluation import inference_on_dataset
from detectron2.modeling import build_model
from detectron2.utils import comm

from clsa_search.checkpoint.checkpointer import PersonSearchCheckpointer
from clsa_search.config_checks import check_config
from clsa_search.data import get_records, resolve_dataset
from clsa_search.data.build import build_mapper, build_test_loader
from clsa_search.data.crop_mapper import uses_crops
from clsa_search.data.given_detections import FileBoxes, GivenBoxes, hash_boxes
from clsa_search.data.image_checks import check_images_exist
from clsa_search.data.readable_batches import FaultMapper, ReadableBatches
from clsa_search.engine.memory import reported_out_of_memory
from clsa_search.engine.precision import prepare_for_inference
from clsa_search.engine.setup import reported_building
from clsa_search.engine.trained_model import hash_file
from clsa_search.errors import InputError
from clsa_search.evaluation import PersonSearchEvaluator, format_table, load_protocols
from clsa_search.evaluation.record_queries import check_queries, image_key
from clsa_search.modeling import PersonSearchRCNN
from clsa_search.wording import count_noun

SHARD_SIZE = 200
"""Number of images after which a process saves its predictions."""

logger = logging.getLogger(__name__)


def predict(
    cfg: CfgNode,
    dataset_name: str,
    output_dir: str,
    *,
    protocols: Sequence[str] | None = None,
    gt_boxes: bool = False,
    detections: Mapping[str, FileBoxes] | None = None,
) -> OrderedDict:
    """Evaluate MODEL.WEIGHTS on a dataset and write predictions.npz to a folder.

    An interrupted run is continued if weights, config and dataset are the same. Unreadable images
    are logged, and all others are processed before the error about them.

    Args:
        cfg: config of the model.
        dataset_name: name of a dataset, see `get_records`.
        output_dir: folder of the predictions, also of an interrupted run's.
        protocols: names of protocols, see `load_protocols`; by default the dataset's own.
        gt_boxes: also embed ground-truth boxes, for the upper bound of the re-ID.
        detections: boxes of another detector by the path of their image, in place of the model's
            detections; other images have none.

    Returns:
        Results of the evaluator, on the main process.

    Raises:
        InputError: a value of the config is wrong; images of the dataset are missing or unreadable,
            it has no queries or no such protocol; the checkpoint is missing or belongs to another
            model.
    """
    check_config(cfg)
    records = _load_records(dataset_name, protocols)
    with reported_building():
        model = build_model(cfg)
    checkpointer = PersonSearchCheckpointer(model)
    checkpointer.cfg = cfg
    checkpointer.load_strictly(cfg.MODEL.WEIGHTS, checkpointables=[])
    meta = {"config": _dump_relevant(cfg), "weights_sha256": hash_file(cfg.MODEL.WEIGHTS)}
    if detections is not None:
        if uses_crops(cfg):
            raise InputError("MODEL.META_ARCHITECTURE is PersonReID; expected a model of images")
        records = _add_detections(records, detections)
        meta["detections"] = hash_boxes({i: r["detections"] for i, r in enumerate(records)})
    prepare_for_inference(model.eval(), cfg)
    evaluator = PersonSearchEvaluator(
        dataset_name,
        output_dir=output_dir,
        protocols=protocols,
        gt_boxes=gt_boxes,
        meta=meta,
        shard_size=SHARD_SIZE,
    )
    done = evaluator.restore()
    if done:
        logger.info("%s: continues after %s", output_dir, count_noun(len(done), "image"))
    rest = [record for record in records if image_key(record) not in done]
    if not rest:
        return evaluator.evaluate()
    mapper, rest = build_mapper(cfg, rest, is_train=False, gt_boxes=gt_boxes)
    loader = ReadableBatches(build_test_loader(cfg, rest, FaultMapper(mapper)))
    with reported_out_of_memory(f"TEST.IMS_PER_BATCH is {cfg.TEST.IMS_PER_BATCH}", "fewer images"):
        run = model if detections is None else partial(_use_detections, model)
        return inference_on_dataset(run, loader, evaluator)


def _add_detections(records: list[dict], detections: Mapping[str, FileBoxes]) -> list[dict]:
    """Return records with the given boxes of their images."""
    none = GivenBoxes(np.zeros((0, 4)), np.zeros(0))
    given = [detections.get(os.path.abspath(r["file_name"]), {}).get(None, none) for r in records]
    return [
        {**record, "detections": boxes.fit(record["width"], record["height"])}
        for record, boxes in zip(records, given, strict=True)
    ]


def _use_detections(model: PersonSearchRCNN, inputs: list[dict]) -> list[dict]:
    return model.inference(inputs, [x["detections"] for x in inputs])


def _load_records(dataset_name: str, protocols: Sequence[str] | None) -> list[dict]:
    """Load the records of a test set, and find its faults before the model runs.

    Raises:
        InputError: images are missing, or there are no queries or no such protocol to score.
    """
    records = get_records(dataset_name)
    check_images_exist(records)
    if protocols is None or protocols:
        check_queries(dataset_name, records)
        load_protocols(dataset_name, records, protocols)
    return records


def _dump_relevant(cfg: CfgNode) -> str:
    """Return the config without the keys that change no result."""
    cfg = cfg.clone()
    cfg.defrost()
    del cfg.TEST["IMS_PER_BATCH"], cfg.TEST["COMPILE"], cfg.DATALOADER["NUM_WORKERS"]
    return cfg.dump()


def predict_test_sets(cfg: CfgNode) -> OrderedDict:
    """Evaluate MODEL.WEIGHTS on each of DATASETS.TEST, into OUTPUT_DIR/inference/<dataset>.

    Raises:
        InputError: a test set or MODEL.WEIGHTS is missing; see also :func:`predict`.
    """
    if not cfg.DATASETS.TEST:
        raise InputError("DATASETS.TEST is empty; expected the names of test sets")
    for name in cfg.DATASETS.TEST:
        resolve_dataset(name)
    if not cfg.MODEL.WEIGHTS:
        raise InputError("checkpoint '' does not exist; set MODEL.WEIGHTS to one")
    for name in cfg.DATASETS.TEST:
        _load_records(name, protocols=None)  # faults of all show before the work
    results: OrderedDict = OrderedDict()
    for name in cfg.DATASETS.TEST:
        results[name] = predict(cfg, name, inference_dir(cfg, name))
        if comm.is_main_process():
            logger.info("%s, in percent:\n%s", name, format_table(results[name]))
    return results


def inference_dir(cfg: CfgNode, dataset_name: str) -> str:
    """Return the folder of a test set's predictions below OUTPUT_DIR."""
    return os.path.join(
        cfg.OUTPUT_DIR, "inference", re.sub(r"[^\w.-]+", "_", dataset_name).strip("_")
    )
