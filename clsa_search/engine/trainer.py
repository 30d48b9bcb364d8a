"""The trainer: Detectron2's, with person-search data and a resume that continues exactly."""

import weakref

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.evaluation import DatasetEvaluator
from torch.utils.data import DataLoader

from clsa_search.data.loader import TrainingLoader, build_test_loader, build_train_loader
from clsa_search.engine.checkpoint import PersonSearchCheckpointer
from clsa_search.engine.hooks import DrawCurves, SeedEveryStep
from clsa_search.engine.inference import inference_dir
from clsa_search.evaluation import PersonSearchEvaluator


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
            output_dir=inference_dir(cfg, dataset_name),
            meta={"config": cfg.dump()},
        )
