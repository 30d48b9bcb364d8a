"""A resumed run trains as before: what a config may change, and what it may not."""

from pathlib import Path

import pytest

from clsa_search.config_values import list_values
from clsa_search.engine import load_config
from clsa_search.engine.resume import FREE_KEYS, list_refused
from clsa_search.errors import InputError
from tests.support.training import SIX_STEPS, train


@pytest.fixture
def finished(tiny_cfg):
    tiny_cfg.merge_from_list(SIX_STEPS)
    train(tiny_cfg)
    return tiny_cfg


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["SOLVER.BASE_LR", 0.5], "SOLVER.BASE_LR is 0.5, but 0.02 in the config.yaml of the run"),
        (["SOLVER.WEIGHT_DECAY", 0.5], "SOLVER.WEIGHT_DECAY is 0.5, but 0.0001"),
        (["SOLVER.STEPS", "(4,)"], r"SOLVER.STEPS is \(4,\), but \(5,\)"),
        (["INPUT.RANDOM_FLIP", "none"], "INPUT.RANDOM_FLIP is 'none', but 'horizontal'"),
        (["SOLVER.MAX_ITER", 5], "MAX_ITER is 5.*has 6 iterations; expected 6 or more"),
        (["MODEL.REID.HEAD.EMBED_DIM", 4], "not a checkpoint.*EMBED_DIM is 4, but 8"),
    ],
)
def test_a_changed_key_is_refused_with_both_values(finished, opts, message):
    folder = Path(finished.OUTPUT_DIR)
    before = {path: path.read_bytes() for path in folder.glob("*.*")}
    finished.merge_from_list(opts)
    with pytest.raises(InputError, match=message):
        train(finished, resume=True)
    assert {path: path.read_bytes() for path in folder.glob("*.*")} == before


def test_a_longer_run_on_another_place_is_recorded(finished, tmp_path):
    moved = Path(finished.OUTPUT_DIR).rename(tmp_path / "moved")
    finished.merge_from_list(["OUTPUT_DIR", str(moved), "SOLVER.MAX_ITER", 8])
    finished.merge_from_list(["SOLVER.STEPS", "(5, 7)", "TEST.EVAL_PERIOD", 4])
    _, losses = train(finished, resume=True)
    assert set(losses) == {6, 7}
    saved = load_config(moved / "config.yaml")
    assert saved.SOLVER.MAX_ITER == 8 and saved.SOLVER.STEPS == (5, 7)
    assert saved.TEST.EVAL_PERIOD == 4


def test_a_run_without_its_config_is_resumed(finished, caplog):
    path = Path(finished.OUTPUT_DIR) / "config.yaml"
    path.unlink()
    train(finished, resume=True)
    assert "cannot be compared" in caplog.text and path.is_file()


def test_keys_of_a_newer_version_are_reported(finished, caplog):
    path = Path(finished.OUTPUT_DIR) / "config.yaml"
    lines = path.read_text().splitlines(keepends=True)
    gone = ("DECORRELATION_WEIGHT:", "TEMPERATURE: 3.0", "LABEL_SMOOTHING:", "EVAL_PERIOD:")
    path.write_text("".join(x for x in lines if not x.strip().startswith(gone)))
    finished.MODEL.REID.ALIGN.DECORRELATION_WEIGHT = 0.5
    finished.TEST.EVAL_PERIOD = 6
    train(finished, resume=True)
    expected = "MODEL.REID.ALIGN.DECORRELATION_WEIGHT 0.5, MODEL.REID.ALIGN.TEMPERATURE 3.0"
    (message,) = [x.getMessage() for x in caplog.records if "lacks keys" in x.getMessage()]
    assert set(message.split("goes on with ")[1].split(", ")) == set(expected.split(", "))


def test_a_damaged_config_of_the_run_is_named(finished):
    (Path(finished.OUTPUT_DIR) / "config.yaml").write_text("")
    with pytest.raises(InputError, match="config.yaml: is empty"):
        train(finished, resume=True)


def test_keys_of_an_extended_config_are_compared_too(finished):
    finished.MODEL.MINE = 1
    train(finished, resume=True)
    finished.MODEL.MINE = 2
    with pytest.raises(InputError, match="MODEL.MINE is 2, but 1"):
        train(finished, resume=True)


def test_only_keys_that_decide_no_iteration_are_free(tiny_cfg):
    free = {key for key, _ in list_values(tiny_cfg) if FREE_KEYS.fullmatch(key)}
    assert {"OUTPUT_DIR", "DATASETS.TEST", "MODEL.ROI_HEADS.NMS_THRESH_TEST"} <= free
    assert {"TEST.DTYPE", "INPUT.MAX_SIZE_TEST", "DATALOADER.NUM_WORKERS"} <= free
    decide = ("SEED", "INPUT.MIN_SIZE_TRAIN", "DATASETS.TRAIN", "SOLVER.IMS_PER_BATCH")
    assert not free.intersection(decide)
    of_tests = {"MODEL.REID.NMS_THRESH_TEST"}
    assert not any("REID" in key or key.endswith("_TRAIN") for key in free - of_tests)


def test_steps_that_are_still_to_come_may_change():
    changes = {"SOLVER.STEPS": ((5, 9), (5, 8))}
    assert list_refused(changes, 8) == []
    assert len(list_refused(changes, 9)) == 1
