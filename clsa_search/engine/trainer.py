"""The trainer: Detectron2's, with person-search data and an exact resume."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase, SimpleTrainer, defaults
from detectron2.engine.hooks import EvalHook, PeriodicWriter
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from clsa_search.checkpoint.checkpointer import PersonSearchCheckpointer
from clsa_search.config_checks import check_config
from clsa_search.data import get_records, load_training_records
from clsa_search.data.build import TrainingLoader, build_test_loader, build_train_loader
from clsa_search.engine.hooks import DrawCurves, FinishStep, SeedEveryStep, SetProgress
from clsa_search.engine.inference import inference_dir
from clsa_search.engine.memory import reported_out_of_memory
from clsa_search.engine.optimizer import build_optimizer
from clsa_search.engine.output_dir import DeferredWriters, save_config, set_aside, trim_metrics
from clsa_search.engine.precision import prepare_for_training, read_amp_dtype
from clsa_search.engine.resume import HOW_TO_GO_ON, check_changes, find_changes, list_refused
from clsa_search.engine.schedule import warn_of_long_warmup, with_schedule
from clsa_search.engine.setup import check_trainable, reported_building, with_identities
from clsa_search.engine.train_loop import AccumulatingTrainer
from clsa_search.engine.weight_average import AverageWeights
from clsa_search.errors import InputError
from clsa_search.evaluation import PersonSearchEvaluator


class PersonSearchTrainer(DefaultTrainer):
    """DefaultTrainer with person-search data and evaluation, and an exact resume.

    It trains in any number of processes, on GPUs or on CPUs. Override its `build_*` methods as
    those of DefaultTrainer.

    Args:
        cfg: frozen config of the run.

    Raises:
        InputError: SOLVER.IMS_PER_BATCH does not divide into processes and ACCUMULATION_STEPS;
            see also :func:`.check_config`, :func:`.with_identities` and :func:`.read_amp_dtype`.
    """

    _trainer: SimpleTrainer

    def __init__(self, cfg: CfgNode) -> None:
        check_config(cfg)
        check_trainable(cfg)
        amp_dtype = read_amp_dtype(cfg)
        records = load_training_records(cfg.DATASETS.TRAIN)
        cfg = with_schedule(with_identities(cfg, records), records)
        warn_of_long_warmup(cfg)
        step = partial(
            AccumulatingTrainer,
            amp_dtype=amp_dtype,
            accumulation_steps=cfg.SOLVER.ACCUMULATION_STEPS,
        )
        with reported_building(), _own_parts(step):
            super().__init__(cfg)

    def build_hooks(self) -> list[HookBase]:
        """Add the seeds of each step, the end of a resumed step and the curves to Detectron2's.

        SOLVER.EMA adds the average of the weights, with which checkpoints are saved and evaluated.
        """
        seeding = [SeedEveryStep(self.cfg.SEED)] if self.cfg.SEED >= 0 else []
        evaluation = EvalHook(self.cfg.TEST.EVAL_PERIOD, self._evaluate)
        hooks = [evaluation if isinstance(h, EvalHook) else h for h in super().build_hooks()]
        after_checkpoint = [h for h in hooks if isinstance(h, EvalHook | PeriodicWriter)]
        self._finish_step = FinishStep(after_checkpoint)
        # the curves come last, after the writers are closed
        before = [*seeding, SetProgress(), *self._build_average(), self._finish_step]
        return [*before, *hooks, DrawCurves(self.cfg.OUTPUT_DIR)]

    def _build_average(self) -> list[HookBase]:
        ema = self.cfg.SOLVER.EMA
        if not ema.ENABLED:
            return []
        average = AverageWeights(self.model, self.optimizer, ema.DECAY)
        self.checkpointer.weights_to_save = average.applied
        return [average]

    def _evaluate(self) -> OrderedDict:
        with self.checkpointer.weights_to_save():
            self._last_eval_results = self.test(self.cfg, self.model)
        return self._last_eval_results

    def build_writers(self) -> list[EventWriter]:
        """Return Detectron2's writers, opened at the first write."""
        return [DeferredWriters(super().build_writers)]

    def resume_or_load(self, resume: bool = True) -> None:
        """Resume from the last checkpoint, or load MODEL.WEIGHTS, and put OUTPUT_DIR in order.

        A resumed run continues `metrics.json` at its first iteration. A new run moves the files of
        an earlier run to a folder of their own. Both write `config.yaml`.

        Raises:
            InputError: see :class:`.PersonSearchCheckpointer` and :func:`.check_changes`; a process
                does not find the checkpoint of the main process.
        """
        path = comm.all_gather(self.checkpointer.get_checkpoint_file())[0] if resume else ""
        if path:
            self._resume(path)
        elif self.cfg.MODEL.WEIGHTS:
            self.checkpointer.cfg = self.cfg
            self.checkpointer.load_weights(self.cfg.MODEL.WEIGHTS)
        self.data_loader.start_iter = self.start_iter
        comm.synchronize()  # the weights may be one of the files that move
        if not comm.is_main_process():
            return
        if resume:
            # the lines of the last iteration are written again
            first = self.start_iter - bool(self._finish_step.scalars)
            self._finish_step.written = trim_metrics(self.cfg.OUTPUT_DIR, first)
        else:
            set_aside(self.cfg.OUTPUT_DIR)
        save_config(self.cfg.OUTPUT_DIR, self.cfg)

    def _resume(self, path: str) -> None:
        """Load a checkpoint of the run in OUTPUT_DIR."""
        changes = comm.all_gather(find_changes(self.cfg))[0]
        try:
            self.checkpointer.load_strictly(path)
        except InputError as error:  # a changed key may be the reason
            reasons = [str(error), *list_refused(changes, 0)]
            raise InputError(f"{'; '.join(reasons)}; {HOW_TO_GO_ON}") from error
        self.start_iter = self.iter + 1
        check_changes(self.cfg, changes, self.start_iter)

    def train(self) -> OrderedDict | None:
        """Train as DefaultTrainer; an InputError is raised without Detectron2's log of it."""
        logger = logging.getLogger("detectron2.engine.train_loop")
        logger.addFilter(_is_unexpected)
        try:
            return super().train()
        finally:
            logger.removeFilter(_is_unexpected)

    def run_step(self) -> None:
        """Train on one batch.

        Raises:
            InputError: the memory is too small for SOLVER.IMS_PER_BATCH.
        """
        solver = self.cfg.SOLVER
        cause = f"SOLVER.IMS_PER_BATCH is {solver.IMS_PER_BATCH}"
        steps = f"a larger SOLVER.ACCUMULATION_STEPS than {solver.ACCUMULATION_STEPS}"
        with reported_out_of_memory(cause, f"fewer images, or {steps}"):
            super().run_step()

    def state_dict(self) -> dict:
        """Return the state of the trainer, its hooks, the optimizer and the loss scale."""
        # Detectron2 v0.6 leaves optimizer and loss scale out of its checkpoints
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """Restore the state of a checkpoint."""
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])

    @classmethod
    def test(
        cls, cfg: CfgNode, model: nn.Module, evaluators: list[DatasetEvaluator] | None = None
    ) -> OrderedDict:
        """Evaluate the model of the main process on DATASETS.TEST.

        In training the batch norm statistics differ between processes; the main process's are saved
        in checkpoints, so all processes evaluate with them.
        """
        if comm.get_world_size() > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)
        with reported_out_of_memory(
            f"TEST.IMS_PER_BATCH is {cfg.TEST.IMS_PER_BATCH}", "fewer images"
        ):
            return super().test(cfg, model, evaluators)

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Build the model of a config, laid out for fast training."""
        model = super().build_model(cfg)
        prepare_for_training(model, cfg)
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> Optimizer:
        """Build the optimizer of a config, see :func:`.build_optimizer`."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_train_loader(
        cls,
        cfg: CfgNode,
        mapper: Callable[[dict], dict] | None = None,
        sampler: Iterable[int] | None = None,
    ) -> TrainingLoader:
        """Build the loader of DATASETS.TRAIN, see :func:`.build_train_loader`."""
        return build_train_loader(cfg, mapper, sampler)

    @classmethod
    def build_test_loader(
        cls, cfg: CfgNode, dataset_name: str, mapper: Callable[[dict], dict] | None = None
    ) -> DataLoader:
        """Build the loader of a test set, see :func:`.build_test_loader`."""
        return build_test_loader(cfg, get_records(dataset_name), mapper)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """Build the evaluator of a test set; its files go below OUTPUT_DIR/inference."""
        return PersonSearchEvaluator(
            dataset_name,
            output_dir=inference_dir(cfg, dataset_name),
            meta={"config": cfg.dump()},
        )


def _is_unexpected(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], InputError))


@contextmanager
def _own_parts(step: Callable[..., SimpleTrainer]) -> Iterator[None]:
    """Let DefaultTrainer build with our parts.

    Args:
        step: builds the training step from model, loader and optimizer.
    """
    own = {
        # Detectron2 gives DistributedDataParallel the index of a GPU; without one the model moves
        # its inputs itself, on any device
        "create_ddp_model": partial(defaults.create_ddp_model, device_ids=None),
        "SimpleTrainer": step,
        "AMPTrainer": step,
        "DetectionCheckpointer": PersonSearchCheckpointer,
    }
    theirs = {name: getattr(defaults, name) for name in own}
    vars(defaults).update(own)
    try:
        yield
    finally:
        vars(defaults).update(theirs)
