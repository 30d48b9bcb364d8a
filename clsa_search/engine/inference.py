"""A checkpoint over whole datasets, taken up where an interrupted run stopped."""

import logging
import os
import re
from collections import OrderedDict
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.evaluation import inference_on_dataset
from detectron2.modeling import build_model
from detectron2.utils import comm

from clsa_search.checkpoint.checkpointer import PersonSearchCheckpointer
from clsa_search.data import get_records
from clsa_search.data.build import build_test_loader
from clsa_search.data.dataset_mapper import PersonSearchDatasetMapper
from clsa_search.engine.precision import prepare_for_inference
from clsa_search.engine.trained_model import hash_file
from clsa_search.evaluation import PersonSearchEvaluator, format_table

SHARD_SIZE = 200  # images of a process between two savings of an extraction

logger = logging.getLogger(__name__)


def predict(
    cfg: CfgNode,
    dataset_name: str,
    output_dir: str,
    *,
    protocols: Sequence[str] | None = None,
    gt_boxes: bool = False,
) -> OrderedDict:
    """Run MODEL.WEIGHTS over a dataset; leaves predictions.npz in `output_dir`.

    A run that was interrupted is taken up where it was, as long as weights, config and dataset are
    the same.

    Args:
        cfg: of the model.
        dataset_name: see `get_records`.
        output_dir: may hold what an interrupted run left.
        protocols: names as `load_protocols` takes them; by default the dataset's own.
        gt_boxes: also embed ground-truth boxes, for the upper bound of the re-ID.

    Returns:
        The evaluator's results, on the main process.

    Raises:
        InputError: the checkpoint is missing or of another model.
    """
    model = build_model(cfg)
    PersonSearchCheckpointer(model).load_strictly(cfg.MODEL.WEIGHTS, checkpointables=[])
    prepare_for_inference(model.eval(), cfg)
    evaluator = PersonSearchEvaluator(
        dataset_name,
        output_dir=output_dir,
        protocols=protocols,
        gt_boxes=gt_boxes,
        meta={"config": _dump_what_matters(cfg), "weights_sha256": hash_file(cfg.MODEL.WEIGHTS)},
        shard_size=SHARD_SIZE,
    )
    done = evaluator.restore()
    if done:
        logger.info("%d images were done before: %s is taken up again", len(done), output_dir)
    rest = [record for record in get_records(dataset_name) if record["image_id"] not in done]
    if not rest:
        return evaluator.evaluate()
    mapper = PersonSearchDatasetMapper(cfg, is_train=False, gt_boxes=gt_boxes)
    loader = build_test_loader(cfg, rest, mapper)
    return inference_on_dataset(model, loader, evaluator)


def _dump_what_matters(cfg: CfgNode) -> str:
    """The config without what may change between an extraction and its second part."""
    cfg = cfg.clone()
    cfg.defrost()
    del cfg.TEST["IMS_PER_BATCH"], cfg.TEST["COMPILE"], cfg.DATALOADER["NUM_WORKERS"]
    return cfg.dump()


def predict_test_sets(cfg: CfgNode) -> OrderedDict:
    """:func:`predict` for each of DATASETS.TEST, into OUTPUT_DIR/inference/<dataset>."""
    results = OrderedDict()
    for name in cfg.DATASETS.TEST:
        results[name] = predict(cfg, name, inference_dir(cfg, name))
        if comm.is_main_process():
            logger.info("%s, in percent:\n%s", name, format_table(results[name]))
    return results


def inference_dir(cfg: CfgNode, dataset_name: str) -> str:
    """Where the predictions of a test set go, apart from those of other sets."""
    return os.path.join(
        cfg.OUTPUT_DIR, "inference", re.sub(r"[^\w.-]+", "_", dataset_name).strip("_")
    )
