"""Training and evaluation: their results, their files and their error messages."""

import argparse
import hashlib
import json
from pathlib import Path
from statistics import median

import pytest
import torch
from detectron2.engine import DefaultTrainer, defaults
from detectron2.modeling import build_model

from clsa_search.data import get_records
from clsa_search.data.dataset_mapper import PersonSearchDatasetMapper
from clsa_search.engine import (
    PersonSearchCheckpointer,
    PersonSearchTrainer,
    SeedEveryStep,
    load_config,
    predict,
    predict_test_sets,
)
from clsa_search.errors import InputError
from clsa_search.evaluation import load_predictions
from clsa_search.modeling import PersonSearchRCNN
from tests.support.tiny import make_split
from tests.support.training import train


def test_training_learns_and_leaves_its_traces(tiny_cfg, tmp_path):
    """The loss of one repeated batch falls by more than half, on any processor."""
    pair = make_split(tmp_path / "pair", "train", images=2, queries=False)
    tiny_cfg.DATASETS.TRAIN = (str(pair),)
    tiny_cfg.merge_from_list(
        [
            *("INPUT.RANDOM_FLIP", "none", "INPUT.MIN_SIZE_TRAIN", "(96,)"),
            *("SOLVER.MAX_ITER", "100", "TEST.EVAL_PERIOD", "50", "SOLVER.BASE_LR", "0.03"),
        ]
    )
    assert tiny_cfg.SOLVER.LR_SCHEDULER_NAME == "WarmupCosineLR"  # ends at a rate of 0
    _, losses = train(tiny_cfg)
    first, last = (median(losses[i] for i in steps) for steps in (range(5), range(80, 100)))
    assert last < 0.5 * first  # 0.10 to 0.30 with ten seeds and three instruction sets
    folder = Path(tiny_cfg.OUTPUT_DIR)
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    assert any("search/mAP" in line and "detection/AP" in line for line in lines)
    assert (folder / "model_final.pth").is_file()
    assert list(folder.glob("events.out.tfevents*")), "tensorboard"
    assert (folder / "curves.png").is_file()


class CountingTrainer(PersonSearchTrainer):
    """A trainer with parts of its own, as users of Detectron2 write it."""

    built = []
    mapped = []

    @classmethod
    def build_model(cls, cfg):
        cls.built.append("model")
        return super().build_model(cfg)

    @classmethod
    def build_optimizer(cls, cfg, model):
        cls.built.append("optimizer")
        return torch.optim.Adam(model.parameters(), lr=1e-4)

    @classmethod
    def build_train_loader(cls, cfg):
        cls.built.append("loader")
        mapper = PersonSearchDatasetMapper(cfg, is_train=True)

        def remember(record):
            cls.mapped.append(record["image_id"])
            return mapper(record)

        return super().build_train_loader(cfg, mapper=remember, sampler=[2, 0] * 5)

    @classmethod
    def build_lr_scheduler(cls, cfg, optimizer):
        cls.built.append("scheduler")
        return super().build_lr_scheduler(cfg, optimizer)


def test_model_optimizer_mapper_and_sampler_can_be_replaced(tiny_cfg, tiny_data):
    tiny_cfg.merge_from_list(["SOLVER.MAX_ITER", "2", "DATASETS.TEST", "()"])
    create = defaults.create_ddp_model
    trainer = CountingTrainer(tiny_cfg)
    assert isinstance(trainer, DefaultTrainer) and defaults.create_ddp_model is create
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert CountingTrainer.built == ["model", "optimizer", "loader", "scheduler"]
    assert isinstance(trainer.optimizer, torch.optim.Adam)
    third, first = (get_records(str(tiny_data / "train.json"))[i]["image_id"] for i in (2, 0))
    assert CountingTrainer.mapped[:4] == [third, first, third, first]


@pytest.mark.parametrize("levels", [[], ["res6"], ["res5", "res3"]])
def test_levels_missing_in_the_backbone_are_errors(tiny_cfg, levels):
    tiny_cfg.MODEL.REID.LEVELS = levels
    with pytest.raises(InputError, match="LEVELS.*lowest first"):
        build_model(tiny_cfg)


@pytest.mark.parametrize("size", [0, -2])
def test_a_batch_needs_images(tiny_cfg, size):
    tiny_cfg.SOLVER.IMS_PER_BATCH = size
    with pytest.raises(InputError, match="IMS_PER_BATCH"):
        PersonSearchTrainer(tiny_cfg)


def test_a_trainer_counts_the_identities_without_setup(tiny_cfg):
    tiny_cfg.merge_from_list(["MODEL.REID.NUM_IDS", "0", "SOLVER.MAX_ITER", "1"])
    trainer, losses = train(tiny_cfg)
    assert len(losses) == 1
    assert trainer.cfg.MODEL.REID.NUM_IDS == 3 and tiny_cfg.MODEL.REID.NUM_IDS == 0
    saved = load_config(str(Path(tiny_cfg.OUTPUT_DIR) / "config.yaml"))
    assert saved.MODEL.REID.NUM_IDS == 3, "the saved config builds the trained model"


@pytest.mark.parametrize(
    ("num_ids", "labeled", "message"),
    [(2, True, "NUM_IDS is 2.*holds 3 identities"), (3, False, "train.json.*no box has a person")],
)
def test_a_trainer_needs_enough_identities(tiny_cfg, tiny_data, num_ids, labeled, message):
    tiny_cfg.MODEL.REID.NUM_IDS = num_ids
    if not labeled:
        document = json.loads((tiny_data / "train.json").read_text())
        for annotation in document["annotations"]:
            annotation["person_id"] = -1
        (tiny_data / "unlabeled_train.json").write_text(json.dumps(document))
        tiny_cfg.DATASETS.TRAIN = (str(tiny_data / "unlabeled_train.json"),)
    with pytest.raises(InputError, match=message):
        PersonSearchTrainer(tiny_cfg)


def test_an_error_in_an_iteration_is_raised_unchanged(tiny_cfg, monkeypatch):
    def fail(self, inputs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(PersonSearchRCNN, "forward", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(tiny_cfg)


def test_the_randomness_of_a_step_depends_on_seed_and_iteration():
    def draw(seed, iteration):
        hook = SeedEveryStep(seed)
        hook.trainer = argparse.Namespace(iter=iteration)
        hook.before_step()
        return torch.rand(1).item()

    assert draw(1, 5) == draw(1, 5)
    assert len({draw(1, 5), draw(1, 6), draw(2, 5)}) == 3


@pytest.fixture
def checkpoint(tiny_cfg, tmp_path):
    model = build_model(tiny_cfg)
    PersonSearchCheckpointer(model, str(tmp_path)).save("model")
    return tmp_path / "model.pth"


def test_evaluation_of_a_checkpoint(tiny_cfg, checkpoint, tiny_data, tmp_path):
    tiny_cfg.merge_from_list(["MODEL.WEIGHTS", str(checkpoint), "MODEL.REID.NUM_IDS", "0"])
    results = predict(tiny_cfg, str(tiny_data / "gallery.json"), str(tmp_path / "out"))
    assert {"recall", "AP"} <= set(results["detection"])
    assert {"mAP", "top1", "top5", "top10"} <= set(results["search"])
    assert (tmp_path / "out" / "predictions.npz").is_file()


def test_predictions_name_their_weights_and_config(tiny_cfg, checkpoint, tiny_data, tmp_path):
    tiny_cfg.MODEL.WEIGHTS = str(checkpoint)
    predict(tiny_cfg, str(tiny_data / "gallery.json"), str(tmp_path / "out"))
    meta = load_predictions(tmp_path / "out" / "predictions.npz").meta
    assert meta["weights_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    made_by = tiny_cfg.clone()
    for section, key in (
        ("TEST", "IMS_PER_BATCH"),
        ("TEST", "COMPILE"),
        ("DATALOADER", "NUM_WORKERS"),
    ):
        del made_by[section][key]  # change no result
    assert meta["config"] == made_by.dump()


def test_test_sets_with_one_file_name_have_own_folders(tiny_cfg, checkpoint, tiny_data, tmp_path):
    second = make_split(tmp_path / "second", "gallery", images=10, queries=True)
    first = str(tiny_data / "gallery.json")
    tiny_cfg.merge_from_list(["MODEL.WEIGHTS", str(checkpoint)])
    tiny_cfg.DATASETS.TEST = (first, str(second))
    assert set(predict_test_sets(tiny_cfg)) == {first, str(second)}
    files = list(Path(tiny_cfg.OUTPUT_DIR).glob("inference/*/predictions.npz"))
    assert len(files) == 2
