"""A resumed run continues exactly, whenever and however it ended."""

import io
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.engine import HookBase
from detectron2.utils import comm

from clsa_search.engine import PersonSearchTrainer, load_config, load_trained_model
from clsa_search.errors import InputError
from tests.support.processes import run_together
from tests.support.training import SIX_STEPS, train

LOSSES = "losses.txt"


@pytest.fixture
def six_steps(tiny_cfg):
    tiny_cfg.merge_from_list([*SIX_STEPS, "DATALOADER.NUM_WORKERS", "1"])
    return tiny_cfg


RECIPE = [
    *("MODEL.REID.AUGMENT.ERASING", "0.5", "MODEL.REID.AUGMENT.BLUR", "0.5"),
    *("MODEL.REID.CLASSIFIER", "OIMClassifier", "MODEL.REID.HEAD.NECK", "bn"),
    *("MODEL.REID.TRIPLET.WEIGHT", "1.0", "MODEL.REID.LABEL_SMOOTHING", "0.1"),
]


@pytest.mark.parametrize("opts", [[], RECIPE], ids=["default", "recipe"])
def test_a_resumed_run_equals_an_uninterrupted_one(six_steps, opts):
    six_steps.merge_from_list(opts)
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


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (
            ["MODEL.REID.NUM_IDS", "7"],
            "not a checkpoint of the config.*classifiers.res3.weight has shape",
        ),
        (
            ["MODEL.REID.LEVELS", "['res3', 'res5']"],
            "not a checkpoint of the config.*res4.* is not in",
        ),
        (
            ["MODEL.REID.BACKBONE.FREEZE_AT", "3"],
            "its trainer is of another training.*parameter group",
        ),
    ],
)
def test_resuming_another_run_is_refused(six_steps, opts, message):
    train(six_steps)
    six_steps.merge_from_list(opts)
    config = Path(six_steps.OUTPUT_DIR) / "config.yaml"
    before = config.read_text()
    with pytest.raises(InputError, match=message):
        train(six_steps, resume=True)
    assert config.read_text() == before


def lines_of(cfg):
    text = (Path(cfg.OUTPUT_DIR) / "metrics.json").read_text()
    return [json.loads(line)["iteration"] for line in text.splitlines()]


def test_metrics_are_written_once(six_steps):
    train(six_steps)
    folder = Path(six_steps.OUTPUT_DIR)
    (folder / "last_checkpoint").write_text("model_0000002.pth")
    kept = '{"iteration": 1, "total_loss": 1.0}\n'
    torn = kept + '{"iteration": 2, "total_{"iteration": 5}\n{"iteration": 4}\n{"iteration": 2, "a'
    (folder / "metrics.json").write_text(torn)
    train(six_steps, resume=True)
    assert lines_of(six_steps) == [1, 5, 6]  # the last is the evaluation


def test_a_new_run_leaves_the_earlier_one_as_it_was(six_steps, caplog):
    train(six_steps)
    folder = Path(six_steps.OUTPUT_DIR)
    names = ["last_checkpoint", "metrics.json", "model_0000002.pth", "model_0000005.pth"]
    names.append("model_final.pth")
    before = {name: (folder / name).read_bytes() for name in names}
    before["config.yaml"] = (folder / "config.yaml").read_bytes()
    before["curves.png"] = (folder / "curves.png").read_bytes()
    (folder / "model_of_mine.pth").write_bytes(b"")
    six_steps.MODEL.WEIGHTS = str(folder / "model_final.pth")
    six_steps.MODEL.REID.HEAD.EMBED_DIM = 4
    train(six_steps)
    assert {name: (folder / "earlier_run_1" / name).read_bytes() for name in before} == before
    assert list((folder / "earlier_run_1").glob("events*"))
    assert list((folder / "earlier_run_1").glob("inference/*/predictions.npz"))
    assert len(list((folder / "earlier_run_1").iterdir())) == len(before) + 2, "nothing else"
    for weights, width in (("earlier_run_1/model_final.pth", 8), ("model_final.pth", 4)):
        assert load_trained_model(folder / weights).cfg.MODEL.REID.HEAD.EMBED_DIM == width
    assert "earlier_run_1" in caplog.text
    assert lines_of(six_steps) == [5, 6]
    six_steps.MODEL.WEIGHTS = ""
    trainer = PersonSearchTrainer(six_steps)
    trainer.resume_or_load(resume=False)
    assert (folder / "earlier_run_2" / "model_final.pth").is_file()
    assert not trainer.checkpointer.has_checkpoint(), "a kill now must not resume the earlier run"


class WriteLosses(HookBase):
    """The loss of every iteration in a file, over all processes of a run."""

    def __init__(self, path):
        self.file = open(path, "a", buffering=1)

    def after_step(self):
        loss = self.trainer.storage.latest()["total_loss"][0]
        self.file.write(f"{self.trainer.iter} {loss!r}\n")


class WritingTrainer(PersonSearchTrainer):
    def build_hooks(self):
        # first, to record an iteration before the checkpoint that may be lost
        return [WriteLosses(os.path.join(self.cfg.OUTPUT_DIR, LOSSES)), *super().build_hooks()]


def die_in_second_saving(moment):
    """Kill this process in the second checkpoint: in the file, before its rename or its tag."""
    saves = []

    def save(data, file):
        saves.append(file)
        buffer = io.BytesIO()
        whole_save(data, buffer)
        if len(saves) == 2 and moment == "in the file":
            file.write(buffer.getvalue()[:-1000])
            file.flush()
            die()
        file.write(buffer.getvalue())

    def replace(partial, path):
        named = "name" if str(path).endswith("last_checkpoint") else "place"
        if len(saves) == 2 and moment == f"before its {named}":
            die()
        whole_replace(partial, path)

    whole_save, whole_replace = torch.save, os.replace
    torch.save, os.replace = save, replace


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def live(config_file, opts, moment):
    """Continue the training of the previous process."""
    if moment:
        die_in_second_saving(moment)
    trainer = WritingTrainer(load_config(config_file, opts))
    trainer.resume_or_load(resume=True)
    trainer.train()


def kill_after_an_iteration(process, losses, delay):
    before = count_lines(losses)
    while process.is_alive() and count_lines(losses) == before:
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()


def count_lines(path):
    return path.read_text().count("\n")


def resume_together(rank, config_file, opts):
    cfg = load_config(config_file, opts)
    whole, _ = train(cfg)
    whole = {name: value.clone() for name, value in whole.model.state_dict().items()}
    if rank == 0:
        (Path(cfg.OUTPUT_DIR) / "last_checkpoint").write_text("model_0000001.pth")
    comm.synchronize()
    resumed, _ = train(cfg, resume=True)
    assert resumed.start_iter == 2
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(whole[name], value), name
    classifier = resumed.model.module.reid_criterion.classifiers["res5"]
    assert classifier.lookup_table.any() and classifier.queue.any()


def test_two_processes_resume_exactly_with_the_buffers_of_oim(demo_config_file, tiny_opts):
    opts = [*tiny_opts, "MODEL.REID.CLASSIFIER", "OIMClassifier", "MODEL.REID.OIM.QUEUE_SIZE", "9"]
    opts += ["SOLVER.MAX_ITER", "4", "SOLVER.CHECKPOINT_PERIOD", "2", "DATASETS.TEST", "()"]
    run_together(resume_together, demo_config_file, opts)


def test_a_killed_run_ends_like_an_uninterrupted_one(demo_config_file, tiny_opts, tmp_path):
    context = torch.multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["clsa_search.engine"])
    opts = [*tiny_opts, "SOLVER.MAX_ITER", "12", "SOLVER.CHECKPOINT_PERIOD", "1", "OUTPUT_DIR"]

    def start(name, moment=None):
        (tmp_path / name).mkdir(exist_ok=True)
        output = [*opts, str(tmp_path / name)]
        process = context.Process(target=live, args=(demo_config_file, output, moment))
        process.start()
        return process, tmp_path / name / LOSSES

    alone, expected = start("alone")
    for moment in ("in the file", "before its place", "before its name"):
        process, losses = start("killed", moment)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    for delay in np.random.default_rng(0).uniform(0, 0.2, size=3):
        process, losses = start("killed")
        kill_after_an_iteration(process, losses, delay)
        process.join()
    process, losses = start("killed")
    for last in (process, alone):
        last.join()
        assert last.exitcode == 0
    assert set(losses.read_text().splitlines()) == set(expected.read_text().splitlines())
    assert count_lines(losses) >= 12 + 3, "something was done again"
    alone, killed = (
        torch.load(tmp_path / name / "model_final.pth")["model"] for name in ("alone", "killed")
    )
    for name, value in alone.items():
        assert torch.equal(killed[name], value), name
