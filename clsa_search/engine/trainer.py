"""The trainer: Detectron2's, with person-search data and a resume that continues exactly."""

import weakref
from collections import OrderedDict

import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase, TrainerBase, create_ddp_model
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from torch import nn
from torch.utils.data import DataLoader

from clsa_search.checkpoint.checkpointer import PersonSearchCheckpointer
from clsa_search.data import get_records
from clsa_search.data.build import TrainingLoader, build_test_loader, build_train_loader
from clsa_search.engine.hooks import DrawCurves, SeedEveryStep
from clsa_search.engine.inference import inference_dir
from clsa_search.engine.output_dir import DeferredWriters, save_config, set_aside, trim_metrics
from clsa_search.engine.precision import prepare_for_training, read_amp_dtype
from clsa_search.engine.setup import with_identities
from clsa_search.engine.train_loop import AccumulatingTrainer
from clsa_search.evaluation import PersonSearchEvaluator


class PersonSearchTrainer(DefaultTrainer):
    """DefaultTrainer with person-search data, evaluation, and a resume that continues exactly."""

    def __init__(self, cfg: CfgNode) -> None:
        """
        Raises:
            InputError: SOLVER.IMS_PER_BATCH does not divide into processes and
                ACCUMULATION_STEPS; see also :func:`with_identities` and :func:`read_amp_dtype`.
        """
        # not DefaultTrainer's: it knows no processes on a CPU, no other steps and checkpointer
        TrainerBase.__init__(self)
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        amp_dtype = read_amp_dtype(cfg)
        loader = self.build_train_loader(cfg)
        cfg = with_identities(cfg, loader.dataset.records)
        model = self.build_model(cfg)
        prepare_for_training(model, amp_dtype)
        optimizer = self.build_optimizer(cfg, model)
        # no device_ids: the model moves its inputs itself, and a CPU has none
        model = create_ddp_model(model, broadcast_buffers=False, device_ids=None)
        self._trainer = AccumulatingTrainer(
            model,
            loader,
            optimizer,
            amp_dtype=amp_dtype,
            accumulation_steps=cfg.SOLVER.ACCUMULATION_STEPS,
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = PersonSearchCheckpointer(
            model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self)
        )
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self.register_hooks(self.build_hooks())

    def build_hooks(self) -> list[HookBase]:
        seeding = [SeedEveryStep(self.cfg.SEED)] if self.cfg.SEED >= 0 else []
        # last, when the writers are done
        return [*seeding, *super().build_hooks(), DrawCurves(self.cfg.OUTPUT_DIR)]

    def build_writers(self) -> list[EventWriter]:
        return [DeferredWriters(super().build_writers)]

    def resume_or_load(self, resume: bool = True) -> None:
        """As Detectron2's, and the run's folder is put in order.

        Resumed, `metrics.json` ends where the run goes on. Otherwise what an earlier run left is
        moved into a folder of its own. Then `config.yaml` is this run's.

        Raises:
            InputError: see `PersonSearchCheckpointer`; the main process's checkpoint is not there
                for another one.
        """
        path = comm.all_gather(self.checkpointer.get_checkpoint_file())[0] if resume else ""
        if path:
            self.checkpointer.load_strictly(path)
            self.start_iter = self.iter + 1
        elif self.cfg.MODEL.WEIGHTS:
            self.checkpointer.load_weights(self.cfg.MODEL.WEIGHTS)
        self.data_loader.start_iter = self.start_iter
        comm.synchronize()  # the weights may be one of the files that move
        if not comm.is_main_process():
            return
        if resume:
            trim_metrics(self.cfg.OUTPUT_DIR, self.start_iter)
        else:
            set_aside(self.cfg.OUTPUT_DIR)
        save_config(self.cfg.OUTPUT_DIR, self.cfg)

    def state_dict(self) -> dict:
        # Detectron2 v0.6 leaves optimizer and gradient scaler out of its checkpoints
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])

    @classmethod
    def test(
        cls, cfg: CfgNode, model: nn.Module, evaluators: list[DatasetEvaluator] | None = None
    ) -> OrderedDict:
        """As Detectron2's, of one model: that of the main process, which is the one saved.

        In training each process has batch norm statistics of its own.
        """
        if comm.get_world_size() > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)
        return super().test(cfg, model, evaluators)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> TrainingLoader:
        return build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> DataLoader:
        return build_test_loader(cfg, get_records(dataset_name))

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        return PersonSearchEvaluator(
            dataset_name,
            output_dir=inference_dir(cfg, dataset_name),
            meta={"config": cfg.dump()},
        )
