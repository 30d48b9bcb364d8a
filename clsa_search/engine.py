"""Set-up, training and evaluation in Detectron2's words: config, trainer, hooks, checkpointer."""

import argparse
import hashlib
import logging
import os
import re
import weakref
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import DefaultTrainer, HookBase, default_setup
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from torch.utils.data import DataLoader
from yaml import YAMLError

from clsa_search.config import add_clsa_search_config
from clsa_search.data import count_identities, get_records, load_training_records
from clsa_search.data.loader import TrainingLoader, build_test_loader, build_train_loader
from clsa_search.errors import InputError
from clsa_search.evaluation import PersonSearchEvaluator, format_table
from clsa_search.visualize import draw_curves

SHARD_SIZE = 200  # images of a process between two savings of an extraction

logger = logging.getLogger(__name__)


def load_config(config_file: str, opts: list[str] | None = None) -> CfgNode:
    """Defaults, then a YAML file, then KEY VALUE pairs; not frozen.

    Raises:
        InputError: the file is missing or not YAML, a key does not exist, a value does not fit.
    """
    cfg = get_cfg()
    add_clsa_search_config(cfg)
    if config_file and not os.path.isfile(config_file):
        raise InputError(f"config file {config_file} does not exist")
    source = config_file
    try:
        if config_file:
            cfg.merge_from_file(config_file)
        source = "command line"
        cfg.merge_from_list(list(opts or []))
    except (KeyError, ValueError, AssertionError, AttributeError, YAMLError) as error:
        message = error.args[0] if error.args else error
        raise InputError(f"{source}: {message}") from error
    return cfg


def setup(args: argparse.Namespace) -> CfgNode:
    """The frozen config of a command, with logging and seeds set up.

    MODEL.DEVICE falls back to the CPU on a machine without a GPU. MODEL.REID.NUM_IDS 0 becomes the
    number of identities of DATASETS.TRAIN when training.

    Args:
        args: config_file, opts and eval_only of Detectron2's argument parser.

    Raises:
        InputError: see :func:`load_config`; the weights or a dataset do not exist; the training
            set labels nobody, or more people than NUM_IDS.
    """
    cfg = load_config(args.config_file, args.opts)
    weights = cfg.MODEL.WEIGHTS
    if weights and "://" not in weights and not os.path.isfile(weights):
        raise InputError(f"MODEL.WEIGHTS {weights!r} does not exist")
    no_gpu = cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available()
    if no_gpu:
        cfg.MODEL.DEVICE = "cpu"
    if not args.eval_only:
        _check_data(cfg)
    cfg.freeze()
    default_setup(cfg, args)
    if no_gpu:
        logger.warning("No GPU is available: running on the CPU")
    return cfg


def _check_data(cfg: CfgNode) -> None:
    """Fill in MODEL.REID.NUM_IDS, and find faults of the datasets before a run instead of in it."""
    identities = count_identities(load_training_records(cfg.DATASETS.TRAIN))
    if identities == 0:
        raise InputError(
            f"DATASETS.TRAIN {cfg.DATASETS.TRAIN}: no box has a person_id; "
            "the re-ID branch needs labelled people to learn from"
        )
    if 0 < cfg.MODEL.REID.NUM_IDS < identities:
        raise InputError(
            f"MODEL.REID.NUM_IDS is {cfg.MODEL.REID.NUM_IDS}, but DATASETS.TRAIN "
            f"{cfg.DATASETS.TRAIN} holds {identities} identities; 0 takes as many as there are"
        )
    cfg.MODEL.REID.NUM_IDS = cfg.MODEL.REID.NUM_IDS or identities
    for name in cfg.DATASETS.TEST:
        get_records(name)


class PersonSearchCheckpointer(DetectionCheckpointer):
    """Says at once when a checkpoint is not this model's, instead of going on half loaded."""

    def load_strictly(self, path: str, *, checkpointables: list[str] | None = None) -> None:
        """Load a checkpoint that must fill the whole model; classifiers may be left over.

        Args:
            path: of the checkpoint.
            checkpointables: what else to load from it; None for all that was given to the
                constructor, which is what resuming wants.

        Raises:
            InputError: the file is missing or is not a checkpoint, a parameter is missing or has
                another shape.
        """
        if "://" not in path and not os.path.isfile(path):
            raise InputError(f"checkpoint {path!r} does not exist; name one with MODEL.WEIGHTS")
        try:
            self.load(path, checkpointables)
        except Exception as error:  # what a broken pickle or archive raises has no other base
            raise InputError(f"{path}: not a checkpoint that can be read: {error}") from error
        wrong = [
            f"{key} has shape {tuple(found)}, the config's model {tuple(wanted)}"
            for key, found, wanted in self.incompatible.incorrect_shapes
        ]
        wrong += [f"{key} is missing" for key in self.incompatible.missing_keys]
        if wrong:
            raise InputError(
                f"{path}: is of another model than the config describes: {wrong[0]}"
                + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else "")
            )

    def _load_model(self, checkpoint: dict) -> object:
        self.incompatible = super()._load_model(checkpoint)
        return self.incompatible


class SeedEveryStep(HookBase):
    """Makes the randomness of a step a function of seed, iteration and rank alone."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_step(self) -> None:
        sequence = np.random.SeedSequence((self.seed, self.trainer.iter, comm.get_rank()))
        seed_all_rng(int(sequence.generate_state(1)[0]))


class DrawCurves(HookBase):
    """Draws losses and metrics beside the other traces of a run when training ends."""

    def __init__(self, output_dir: str) -> None:
        self.output_dir = output_dir

    def after_train(self) -> None:
        # Detectron2 calls this after a failure too, whose error must stay the one that is seen
        if comm.is_main_process() and self.trainer.iter >= self.trainer.max_iter:
            try:
                draw_curves(
                    os.path.join(self.output_dir, "metrics.json"),
                    os.path.join(self.output_dir, "curves.png"),
                )
            except InputError as error:
                logger.warning("No curves are drawn: %s", error)


class PersonSearchTrainer(DefaultTrainer):
    """DefaultTrainer with person-search data, evaluation, and a resume that continues exactly."""

    def build_hooks(self) -> list[HookBase]:
        # in place of Detectron2's; the hooks save through it
        self.checkpointer = PersonSearchCheckpointer(
            self.model, self.cfg.OUTPUT_DIR, trainer=weakref.proxy(self)
        )
        seeding = [SeedEveryStep(self.cfg.SEED)] if self.cfg.SEED >= 0 else []
        # last, when the writers are done
        return [*seeding, *super().build_hooks(), DrawCurves(self.cfg.OUTPUT_DIR)]

    def resume_or_load(self, resume: bool = True) -> None:
        """As Detectron2's, but a checkpoint of another model is an InputError when resuming."""
        if resume and self.checkpointer.has_checkpoint():
            self.checkpointer.load_strictly(self.checkpointer.get_checkpoint_file())
            self.start_iter = self.iter + 1
        else:
            super().resume_or_load(resume=False)
        self.data_loader.start_iter = self.start_iter

    def state_dict(self) -> dict:
        # Detectron2 v0.6 leaves optimizer and gradient scaler out of its checkpoints
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> TrainingLoader:
        return build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> DataLoader:
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        return PersonSearchEvaluator(
            dataset_name,
            output_dir=_inference_dir(cfg, dataset_name),
            meta={"config": cfg.dump()},
        )


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
        gt_boxes: describe annotated boxes too, for the re-ID's upper bound (predictions_gt.npz).

    Returns:
        The evaluator's results, on the main process.

    Raises:
        InputError: the checkpoint is missing or of another model.
    """
    model = PersonSearchTrainer.build_model(cfg)
    PersonSearchCheckpointer(model).load_strictly(cfg.MODEL.WEIGHTS, checkpointables=[])
    evaluator = PersonSearchEvaluator(
        dataset_name,
        output_dir=output_dir,
        protocols=protocols,
        gt_boxes=gt_boxes,
        meta={"config": cfg.dump(), "weights_sha256": _hash_file(cfg.MODEL.WEIGHTS)},
        shard_size=SHARD_SIZE,
    )
    done = evaluator.restore()
    if done:
        logger.info("%d images were done before: %s is taken up again", len(done), output_dir)
    if all(record["image_id"] in done for record in get_records(dataset_name)):
        return evaluator.evaluate()
    loader = build_test_loader(cfg, dataset_name, annotated_boxes=gt_boxes, skip=done)
    return inference_on_dataset(model, loader, evaluator)


def predict_test_sets(cfg: CfgNode) -> OrderedDict:
    """:func:`predict` for each of DATASETS.TEST, into OUTPUT_DIR/inference/<dataset>."""
    results = OrderedDict()
    for name in cfg.DATASETS.TEST:
        results[name] = predict(cfg, name, _inference_dir(cfg, name))
        if comm.is_main_process():
            logger.info("%s, in percent:\n%s", name, format_table(results[name]))
    return results


def _inference_dir(cfg: CfgNode, dataset_name: str) -> str:
    return os.path.join(
        cfg.OUTPUT_DIR, "inference", re.sub(r"[^\w.-]+", "_", dataset_name).strip("_")
    )


def _hash_file(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
