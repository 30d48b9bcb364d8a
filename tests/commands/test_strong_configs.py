"""The strong recipes: each trains for a step, with narrow layers and small images."""

import json
import re
from pathlib import Path

import pytest
import torch
from torchvision.models import SwinTransformer
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

from clsa_search.config_files import check_weights, list_configs, read_config
from clsa_search.engine import PersonSearchTrainer, load_config
from clsa_search.errors import InputError
from tests.support.public_backbones import name_solider
from tests.support.public_detectors import build_zoo_model, save_zoo_file
from tests.support.tiny import NARROW_MODEL, ROOT, load_tool

STRONG = [name for name in list_configs() if name.startswith("clsa_strong_")]
NARROW = [
    *NARROW_MODEL,
    *("MODEL.REID.BACKBONE.CONVNEXT.DEPTHS", "[1, 1, 1, 1]"),
    *("MODEL.REID.BACKBONE.CONVNEXT.WIDTH", "8"),
    *("MODEL.REID.BACKBONE.SWIN.DEPTHS", "[1, 1, 1, 1]", "MODEL.REID.BACKBONE.SWIN.WIDTH", "32"),
    *("MODEL.REID.CROP_SIZE", "[64, 32]", "MODEL.RPN.POST_NMS_TOPK_TRAIN", "20"),
    *("INPUT.MIN_SIZE_TRAIN", "(96,)", "DATASETS.TEST", "()", "MODEL.WEIGHTS", ""),
]


@pytest.mark.parametrize("name", STRONG)
def test_a_strong_config_trains(name, tiny_data, tmp_path):
    train = str(tiny_data / "train.json")
    cfg = load_config(
        name,
        [
            *(*NARROW, "DATASETS.TRAIN", f"('{train}',)", "OUTPUT_DIR", str(tmp_path)),
            *("SOLVER.EPOCHS", "0", "SOLVER.MAX_ITER", "2", "SOLVER.AMP.ENABLED", "False"),
        ],
    )
    trainer = PersonSearchTrainer(cfg)
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    trainer.train()
    losses = json.loads((tmp_path / "metrics.json").read_text().splitlines()[0])
    assert {"loss_triplet_res5", "loss_same_res3", "loss_decorrelation"} <= losses.keys()
    assert losses["total_loss"] > 0
    changed = [key for key, old in before.items() if not trainer.model.state_dict()[key].equal(old)]
    for part in ("reid_branch.backbone.", "reid_heads.", "roi_heads.", "reid_criterion."):
        assert any(key.startswith(part) for key in changed), part


def test_there_is_a_recipe_for_each_backbone_and_dataset():
    assert sorted(STRONG) == sorted(
        f"clsa_strong_{backbone}_{dataset}"
        for backbone in ("R50", "convnext_b", "solider_swin_b")
        for dataset in ("cuhk_sysu", "prw", "synthetic")
    )


@pytest.mark.parametrize("name", STRONG)
def test_missing_weights_name_the_command_that_converts_them(name, monkeypatch, tmp_path, capsys):
    """The named command is one that the converter understands, for a config of the same model."""
    monkeypatch.chdir(tmp_path)
    weights = load_config(name).MODEL.WEIGHTS
    with pytest.raises(InputError, match="does not exist") as fault:
        check_weights(weights)
    words = str(fault.value).rpartition("clsa-convert-weights ")[2].split()
    args = load_tool("convert_weights").parse_args(words)
    assert args.output == weights
    assert args.detector and args.reid
    named, own = load_config(args.config_file), load_config(name)
    assert named.MODEL == own.MODEL and named.INPUT == own.INPUT
    assert [Path(path).name for path, _ in read_config(args.config_file)]


def test_commands_of_the_page_are_understood():
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    lines = re.findall(r"^clsa-(\S+) (.+)$", page, re.MULTILINE)
    for command, words in lines:
        if command == "train":
            assert words.removeprefix("--config-file ") in list_configs()
        else:
            name = {"eval": "eval_search"}.get(command, command.replace("-", "_"))
            load_tool(name).parse_args(words.split())
    assert len(lines) >= 7


def make_convnext():
    settings = [CNBlockConfig(8 << i, None if i == 3 else 16 << i, 1) for i in range(4)]
    return ConvNeXt(settings, num_classes=2).state_dict()


def make_solider():
    swin = SwinTransformer([4, 4], 32, [1, 1, 1, 1], [1, 2, 4, 8], [7, 7], num_classes=2)
    return {"teacher": name_solider(swin)}


@pytest.mark.parametrize(
    ("backbone", "make", "file"),
    [
        ("convnext_b", make_convnext, "convnext_base-6075fbad.pth"),
        ("solider_swin_b", make_solider, "checkpoint_tea.pth"),
    ],
)
def test_raw_data_and_public_files_become_a_table(
    backbone, make, file, tiny_data, tmp_path, monkeypatch, capsys
):
    """Run the three commands of docs/recipes.md with small files."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    detector = build_zoo_model(
        "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml",
        *("MODEL.RESNETS.WIDTH_PER_GROUP", "4", "MODEL.FPN.OUT_CHANNELS", "8"),
        *("MODEL.ROI_BOX_HEAD.FC_DIM", "16"),
    )
    save_zoo_file(detector, Path("model_final_280758.pkl"))
    torch.save(make(), file)
    config, sets = f"clsa_strong_{backbone}_synthetic", []
    for key, name in (("TRAIN", "train"), ("TEST", "gallery")):
        sets += [f"DATASETS.{key}", f"('{tiny_data / name}.json',)"]
    weights = load_config(config).MODEL.WEIGHTS
    small = [*NARROW[: NARROW.index("DATASETS.TEST")], *sets]
    with pytest.raises(InputError) as fault:
        check_weights(weights)
    words = str(fault.value).rpartition("clsa-convert-weights ")[2].split()
    load_tool("convert_weights").main([*words, *small])
    assert "reid_branch.backbone.*" in capsys.readouterr().out
    opts = [*small, "SOLVER.EPOCHS", "0.25", "SOLVER.AMP.ENABLED", "False", "OUTPUT_DIR", "out"]
    load_tool("train_net").main(["--config-file", config, *opts])
    log = capsys.readouterr().out
    assert "START AT RANDOM" not in log, "the converted file fills both backbones"
    search = ["--weights", "out/model_final.pth", "--dataset", str(tiny_data / "gallery.json")]
    load_tool("eval_search").main(["--config-file", config, *search, *small])
    assert "mAP" in capsys.readouterr().out
