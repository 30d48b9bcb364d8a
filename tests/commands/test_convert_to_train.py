"""A complete public detector and a backbone for the re-ID branch, to train a config from."""

from pathlib import Path

import pytest
import torch
import torchvision

from clsa_search.engine import PersonSearchTrainer, load_config
from tests.support.public_detectors import build_zoo_model, save_zoo_file
from tests.support.tiny import load_tool

R50 = "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml"
BASE = "Base-CLSA-R50-FPN-COCO"
OPTS = [
    *("MODEL.DEVICE", "cpu", "MODEL.RESNETS.WIDTH_PER_GROUP", "4"),
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", "8", "MODEL.RESNETS.RES2_OUT_CHANNELS", "16"),
    *("MODEL.FPN.OUT_CHANNELS", "16", "MODEL.ROI_BOX_HEAD.FC_DIM", "32"),
    *("MODEL.REID.BACKBONE.RESNETS.WIDTH_PER_GROUP", "4", "MODEL.REID.CROP_SIZE", "[32, 16]"),
]


@pytest.fixture(scope="module")
def detector():
    return build_zoo_model(R50, "MODEL.RESNETS.WIDTH_PER_GROUP", "4")


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return torchvision.models.resnet50(weights=None, width_per_group=4).eval()


@pytest.fixture
def run(monkeypatch, tmp_path, detector, resnet):
    """Run the command in a folder with both files."""
    monkeypatch.chdir(tmp_path)
    save_zoo_file(detector, Path("zoo.pkl"))
    torch.save(resnet.state_dict(), "resnet.pth")
    return lambda *argv: load_tool("convert_weights").main([str(word) for word in argv])


def convert(run, *opts):
    files = ["--detector", "zoo.pkl", "--reid", "resnet.pth", "start.pth"]
    run("--config-file", BASE, *files, *OPTS, *opts)


def build_trainer(tiny_data, *opts):
    return PersonSearchTrainer(
        load_config(
            BASE,
            [
                *(*OPTS, "DATASETS.TRAIN", f"('{tiny_data / 'train.json'}',)"),
                *("DATASETS.TEST", "()", "INPUT.MIN_SIZE_TRAIN", "(96,)"),
                *("SOLVER.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "1", "SOLVER.STEPS", "()"),
                *("DATALOADER.NUM_WORKERS", "0", "MODEL.WEIGHTS", "start.pth", *opts),
            ],
        )
    )


def test_training_starts_from_the_detector_and_the_backbone_as_they_are(
    run, detector, resnet, tiny_data, capsys
):
    convert(run)
    printed = capsys.readouterr().out
    assert "Faster R-CNN R50-FPN of Detectron2, 80 classes" in printed
    assert "reid_branch.backbone.*" in printed and "unchanged" in printed
    trainer = build_trainer(tiny_data)
    trainer.resume_or_load(resume=False)
    model = trainer.model.eval()
    image = torch.randint(0, 256, (3, 128, 160))
    with torch.no_grad():
        found = model([{"image": image}])[0]["instances"]
        expected = detector([{"image": image}])[0]["instances"]
    expected = expected[expected.pred_classes == 0]
    # the config drops more overlapping boxes: the most confident one is left
    assert found.scores[0] == pytest.approx(float(expected.scores[0]), abs=1e-3)
    torch.testing.assert_close(
        found.pred_boxes.tensor[0], expected.pred_boxes.tensor[0], atol=0.1, rtol=0
    )
    for ours, theirs in (
        ("stem.conv1.weight", resnet.conv1.weight),
        ("res5.2.conv3.weight", resnet.layer4[2].conv3.weight),
    ):  # its pixels are those of MODEL.REID.INPUT, so nothing is adapted
        own = model.reid_branch.backbone.state_dict()[ours]
        torch.testing.assert_close(own, theirs.detach())
    model.train()
    trainer.train()


def test_weights_remember_what_the_detector_needs(run, tiny_data):
    convert(run)
    trainer = build_trainer(tiny_data, "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", "[[1.0, 2.0, 3.0]]")
    with pytest.raises(ValueError, match=r"start.pth: its detector needs MODEL.ANCHOR.*ASPECT_RA"):
        trainer.resume_or_load(resume=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["MODEL.RESNETS.STRIDE_IN_1X1", "False"], "needs MODEL.RESNETS.STRIDE_IN_1X1 True, not"),
        (["MODEL.FPN.OUT_CHANNELS", "32"], "in the model"),
        (["MODEL.REID.INPUT.PIXEL_MEAN", "[1, 2, 3]"], "needs MODEL.REID.INPUT.PIXEL_MEAN"),
        (["--crop-size", "64", "32"], "--config-file describes the re-ID network; leave out"),
        (["--convention", "msra"], "takes no options for backbones"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(run, capsys, words, message):
    with pytest.raises(SystemExit):
        convert(run, *words)
    assert message in capsys.readouterr().err
    assert not Path("start.pth").exists()
