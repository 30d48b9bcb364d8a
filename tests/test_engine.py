"""Set-up, exact resume, strict loading, and that every YAML builds."""

import argparse
import hashlib
import json
from pathlib import Path

import pytest
import torch
from conftest import draw_split
from detectron2.engine import HookBase
from detectron2.modeling import build_model

from clsa_search.engine import (
    PersonSearchCheckpointer,
    PersonSearchTrainer,
    SeedEveryStep,
    load_config,
    predict,
    predict_test_sets,
    setup,
)
from clsa_search.errors import InputError
from clsa_search.evaluation import load_predictions
from clsa_search.modeling import PersonSearchRCNN

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
    """Six iterations in which everything that could be lost on the way changes."""
    tiny_cfg.merge_from_list(
        [
            *("SOLVER.MAX_ITER", "6", "SOLVER.CHECKPOINT_PERIOD", "3"),
            *("SOLVER.WARMUP_ITERS", "4", "SOLVER.STEPS", "(5,)", "DATALOADER.NUM_WORKERS", "1"),
        ]
    )
    return tiny_cfg


def test_a_resumed_run_equals_an_uninterrupted_one(six_steps):
    whole, losses = train(six_steps)
    folder = Path(six_steps.OUTPUT_DIR)
    (folder / "last_checkpoint").write_text("model_0000002.pth")
    (folder / "model_final.pth").unlink()
    six_steps.DATALOADER.NUM_WORKERS = 0
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


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.REID.NUM_IDS", "2"], "holds 3 identities"),
        (["DATASETS.TEST", "('no.json',)"], "no.json"),
        (["MODEL.WEIGHTS", "no.pth"], "no.pth"),
    ],
)
def test_faults_are_found_before_training(demo_config_file, tiny_opts, opts, message):
    with pytest.raises(InputError, match=message):
        setup(arguments(demo_config_file, [*tiny_opts, *opts]))


@pytest.mark.parametrize("levels", [[], ["res6"], ["res5", "res3"]])
def test_levels_that_the_trunk_lacks_are_named(tiny_cfg, levels):
    tiny_cfg.MODEL.REID.LEVELS = levels
    with pytest.raises(InputError, match="LEVELS.*lowest first"):
        build_model(tiny_cfg)


@pytest.mark.parametrize("size", [0, -2])
def test_a_batch_needs_images(tiny_cfg, size):
    tiny_cfg.SOLVER.IMS_PER_BATCH = size
    with pytest.raises(InputError, match="IMS_PER_BATCH"):
        PersonSearchTrainer(tiny_cfg)


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


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", "does not exist"),
        ("cut short", "not a checkpoint that can be read"),
        ("text", "not a checkpoint that can be read"),
        ("wider", r"has shape \(.*, the config's model \("),
        ("another model", "is missing"),
    ],
)
def test_checkpoints_that_do_not_fit_are_refused(tiny_cfg, checkpoint, fault, message):
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
    checkpointer = PersonSearchCheckpointer(build_model(tiny_cfg))
    with pytest.raises(InputError, match=rf"model.pth.*{message}"):
        checkpointer.load_strictly(str(checkpoint), checkpointables=[])


def test_resuming_another_model_is_refused(six_steps):
    train(six_steps)
    six_steps.MODEL.REID.NUM_IDS = 7
    with pytest.raises(InputError, match="is of another model.*classifiers"):
        train(six_steps, resume=True)


def test_a_failing_iteration_keeps_its_own_error(tiny_cfg, monkeypatch):
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


def test_predictions_say_what_made_them(tiny_cfg, checkpoint, tiny_data, tmp_path):
    tiny_cfg.MODEL.WEIGHTS = str(checkpoint)
    predict(tiny_cfg, str(tiny_data / "gallery.json"), str(tmp_path / "out"))
    meta = load_predictions(tmp_path / "out" / "predictions.npz").meta
    assert meta["weights_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert meta["config"] == tiny_cfg.dump()


def test_test_sets_of_one_file_name_are_kept_apart(tiny_cfg, checkpoint, tiny_data, tmp_path):
    second = draw_split(tmp_path / "second", "gallery", images=10, queries=True)
    first = str(tiny_data / "gallery.json")
    tiny_cfg.merge_from_list(["MODEL.WEIGHTS", str(checkpoint)])
    tiny_cfg.DATASETS.TEST = (first, str(second))
    assert set(predict_test_sets(tiny_cfg)) == {first, str(second)}
    files = list(Path(tiny_cfg.OUTPUT_DIR).glob("inference/*/predictions.npz"))
    assert len(files) == 2
