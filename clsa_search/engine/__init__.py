"""Setup, training and evaluation, as in Detectron2: config, trainer, hooks, launcher."""

from clsa_search.checkpoint.checkpointer import PersonSearchCheckpointer
from clsa_search.engine.hooks import DrawCurves, SeedEveryStep
from clsa_search.engine.inference import predict, predict_test_sets
from clsa_search.engine.launch import launch
from clsa_search.engine.memory import keep_freed_memory
from clsa_search.engine.setup import load_config, setup
from clsa_search.engine.train_loop import AccumulatingTrainer
from clsa_search.engine.trained_model import TrainedModel, load_trained_model
from clsa_search.engine.trainer import PersonSearchTrainer

__all__ = [
    "AccumulatingTrainer",
    "DrawCurves",
    "PersonSearchCheckpointer",
    "PersonSearchTrainer",
    "SeedEveryStep",
    "TrainedModel",
    "keep_freed_memory",
    "launch",
    "load_config",
    "load_trained_model",
    "predict",
    "predict_test_sets",
    "setup",
]
