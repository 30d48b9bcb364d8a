"""Every YAML builds the model of its name, for registered datasets."""

from pathlib import Path

import pytest
from detectron2.modeling import build_model

from clsa_search.data import resolve_dataset
from clsa_search.engine import load_config

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
BRANCHES = {"crop": "CropBranch", "shared": "SharedBranch", "oim": "CropBranch"}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_builds(config):
    opts = ["MODEL.DEVICE", "cpu", "MODEL.REID.NUM_IDS", "11"]
    model = build_model(load_config(str(config), opts))
    assert {c.num_ids for c in model.reid_criterion.classifiers.values()} == {11}
    assert list(model.reid_heads) == list(model.reid_branch.output_shape())
    if "R50" in config.stem:
        assert list(model.reid_heads) == ["res3", "res4", "res5"]
        assert model.reid_branch.output_shape()["res5"].channels == 2048


@pytest.mark.parametrize(
    "config", [c for c in CONFIGS if "Base" not in c.stem], ids=lambda c: c.stem
)
def test_a_config_has_the_branch_classifier_and_data_of_its_name(config):
    cfg = load_config(str(config))
    _, kind, dataset = config.stem.replace("_R50", "").split("_", 2)
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        assert resolve_dataset(name).removeprefix("crops:").startswith(dataset)
    if kind in BRANCHES:
        assert cfg.MODEL.REID.NAME == BRANCHES[kind]
        assert (cfg.MODEL.REID.CLASSIFIER == "OIMClassifier") == (kind == "oim")
        assert config.stem in cfg.OUTPUT_DIR
    if cfg.SOLVER.LR_SCHEDULER_NAME == "WarmupMultiStepLR":
        assert list(cfg.SOLVER.STEPS) == sorted(cfg.SOLVER.STEPS)
        assert cfg.SOLVER.STEPS[-1] < cfg.SOLVER.MAX_ITER


def test_there_are_few_new_keys():
    def count(node):
        return sum(count(v) if hasattr(v, "items") else 1 for v in node.values())

    reid = load_config("").MODEL.REID
    reid.BACKBONE.pop("RESNETS")  # a copy of Detectron2's keys
    assert count(reid) + 1 <= 45
