"""Every YAML builds the model of its name, for registered datasets."""

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from clsa_search.data import resolve_dataset
from clsa_search.engine import load_config
from clsa_search.modeling.staged_backbone import BACKBONE_NODES

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
BRANCHES = {
    **dict.fromkeys(("crop", "paper", "oim", "strong"), "CropBranch"),
    "shared": "SharedBranch",
}
DATASETS = ("cuhk_sysu", "prw", "synthetic", "synthetic_demo", "market1501", "msmt17")


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_builds(config):
    cfg = load_config(str(config), ["MODEL.REID.NUM_IDS", "11"])
    cfg.MODEL.DEVICE = "meta"  # the largest backbones have no memory and take no time there
    with torch.device("meta"):
        model = build_model(cfg)
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
    kind = config.stem.split("_")[1]
    dataset = max((x for x in DATASETS if config.stem.endswith(f"_{x}")), key=len)
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        assert resolve_dataset(name).removeprefix("crops:").startswith(dataset)
    if kind in BRANCHES:
        assert cfg.MODEL.REID.NAME == BRANCHES[kind]
        assert (cfg.MODEL.REID.CLASSIFIER == "OIMClassifier") == (kind == "oim")
        assert config.stem in cfg.OUTPUT_DIR
    if cfg.SOLVER.LR_SCHEDULER_NAME == "WarmupMultiStepLR":
        assert list(cfg.SOLVER.STEPS) == sorted(cfg.SOLVER.STEPS)
        assert cfg.SOLVER.STEPS[-1] < cfg.SOLVER.MAX_ITER


@pytest.mark.parametrize("dataset", ["cuhk_sysu", "prw", "synthetic"])
def test_the_recipe_of_the_paper_is_that_of_the_paper(dataset):
    cfg = load_config(f"clsa_paper_R50_{dataset}")
    align, reid = cfg.MODEL.REID.ALIGN, cfg.MODEL.REID
    assert (align.WEIGHT, align.TEMPERATURE, align.DETACH_SOURCE) == (1.0, 3.0, True)
    assert (align.SAME_PERSON_WEIGHT, align.DECORRELATION_WEIGHT, align.RAMP) == (0, 0, 0)
    assert (reid.HEAD.NECK, reid.TRIPLET.WEIGHT, reid.LABEL_SMOOTHING) == ("none", 0, 0)
    other = load_config(f"clsa_crop_R50_{dataset}")
    assert (cfg.DATASETS, cfg.SOLVER, cfg.INPUT) == (other.DATASETS, other.SOLVER, other.INPUT)
    assert cfg.MODEL.WEIGHTS == other.MODEL.WEIGHTS


def test_there_are_few_new_keys():
    def count(node):
        return sum(count(v) if hasattr(v, "items") else 1 for v in node.values())

    reid = load_config("").MODEL.REID
    for node in BACKBONE_NODES:  # the same keys as below MODEL
        reid.BACKBONE.pop(node)
    assert count(reid) + 1 <= 55
