"""Set-up, exact resume, strict loading, and that every YAML builds."""

import argparse
import json
from pathlib import Path

import pytest
import torch
from detectron2.engine import HookBase
from detectron2.modeling import build_model

from clsa_search.engine import (
    PersonSearchCheckpointer,
    PersonSearchTrainer,
    load_config,
    predict,
    setup,
)
from clsa_search.errors import InputError

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


class Losses(HookBase):
    """Keeps the total loss of every iteration."""

    def __init__(self):
        self.by_iteration = {}

    def after_step(self):
        latest = self.trainer.storage.latest()
        self.by_iteration[self.trainer.iter] = latest["total_loss"][0]


def train(cfg, *, resume=False):
    trainer = PersonSearchTrainer(cfg)
    losses = Losses()
    trainer.register_hooks([losses])
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer, losses.by_iteration


@pytest.fixture
def six_steps(tiny_cfg):
    tiny_cfg.merge_from_list(["SOLVER.MAX_ITER", "6", "SOLVER.CHECKPOINT_PERIOD", "3"])
    return tiny_cfg


def test_a_resumed_run_equals_an_uninterrupted_one(six_steps):
    whole, losses = train(six_steps)
    folder = Path(six_steps.OUTPUT_DIR)
    (folder / "last_checkpoint").write_text("model_0000002.pth")
    (folder / "model_final.pth").unlink()
    resumed, rest = train(six_steps, resume=True)
    assert set(rest) == {3, 4, 5}
    assert rest == {i: losses[i] for i in rest}, "the same losses, to the last bit"
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


def test_a_finished_run_has_nothing_to_resume(six_steps):
    train(six_steps)
    assert train(six_steps, resume=True)[1] == {}


def test_training_learns_and_leaves_its_traces(tiny_cfg):
    tiny_cfg.merge_from_list(
        ["SOLVER.MAX_ITER", "40", "TEST.EVAL_PERIOD", "20", "SOLVER.BASE_LR", "0.05"]
    )
    _, losses = train(tiny_cfg)
    assert sum(losses[i] for i in range(30, 40)) < 0.85 * sum(losses[i] for i in range(10))
    folder = Path(tiny_cfg.OUTPUT_DIR)
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    assert any("search/mAP" in line and "detection/AP" in line for line in lines)
    assert (folder / "model_final.pth").is_file()
    assert list(folder.glob("events.out.tfevents*")), "tensorboard"
    assert (folder / "curves.png").is_file()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_builds(config):
    cfg = load_config(str(config), ["MODEL.DEVICE", "cpu", "MODEL.REID.NUM_IDS", "11"])
    model = build_model(cfg)
    assert {c.out_features for c in model.clsa_heads.classifiers.values()} == {11}
    if "R50" in config.stem or "R_50" in config.stem:
        assert model.reid_branch.output_shape()["res5"].channels == 2048
        assert tuple(model.reid_branch.crop.output_size) == (256, 128)


def arguments(config_file, opts=(), eval_only=False):
    return argparse.Namespace(config_file=config_file, opts=list(opts), eval_only=eval_only)


def test_setup_counts_the_identities_and_finds_the_device(demo_config_file, tiny_opts):
    opts = [*tiny_opts, "MODEL.REID.NUM_IDS", "0", "MODEL.DEVICE", "cuda"]
    cfg = setup(arguments(demo_config_file, opts))
    assert cfg.MODEL.REID.NUM_IDS == 3 and cfg.is_frozen()
    assert cfg.MODEL.DEVICE == ("cuda" if torch.cuda.is_available() else "cpu")
    saved = load_config(str(Path(cfg.OUTPUT_DIR) / "config.yaml"))
    assert saved.MODEL.REID.NUM_IDS == 3, "the saved config builds the trained model"


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.REID.LEVEL", "[]"], "MODEL.REID.LEVEL"),
        (["MODEL.REID.CROP_SIZE", "large"], "CROP_SIZE"),
        (["DATASETS.TRAIN"], "command line"),
    ],
)
def test_faulty_options_are_named(demo_config_file, opts, message):
    with pytest.raises(InputError, match=message):
        load_config(demo_config_file, opts)


def test_faulty_config_files_are_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.yaml"):
        load_config("nowhere.yaml")
    (tmp_path / "broken.yaml").write_text("MODEL: [")
    with pytest.raises(InputError, match="broken.yaml"):
        load_config(str(tmp_path / "broken.yaml"))
    (tmp_path / "key.yaml").write_text("MODEL:\n  RIED: 1\n")
    with pytest.raises(InputError, match=r"key.yaml.*RIED"):
        load_config(str(tmp_path / "key.yaml"))


def test_a_dataset_without_identities_cannot_train(demo_config_file, tiny_opts, tiny_data):
    document = json.loads((tiny_data / "train.json").read_text())
    for annotation in document["annotations"]:
        annotation["person_id"] = -1
    (tiny_data / "nobody.json").write_text(json.dumps(document))
    opts = [*tiny_opts, "MODEL.REID.NUM_IDS", "0"]
    opts += ["DATASETS.TRAIN", f"('{tiny_data / 'nobody.json'}',)"]
    with pytest.raises(InputError, match=r"nobody.json.*person_id"):
        setup(arguments(demo_config_file, opts))


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


@pytest.mark.parametrize("fault", ["missing", "cut short", "text", "wider", "another model"])
def test_checkpoints_that_do_not_fit_are_refused(tiny_cfg, checkpoint, fault):
    content = checkpoint.read_bytes()
    if fault == "missing":
        checkpoint.unlink()
    elif fault == "cut short":
        checkpoint.write_bytes(content[: len(content) // 2])
    elif fault == "text":
        checkpoint.write_text("weights")
    elif fault == "wider":
        tiny_cfg.MODEL.REID.HEAD.EMBED_DIM = 24
    else:
        torch.save({"model": {"weight": torch.zeros(3)}}, checkpoint)
    with pytest.raises(InputError, match="model.pth"):
        PersonSearchCheckpointer(build_model(tiny_cfg)).load_strictly(str(checkpoint))
