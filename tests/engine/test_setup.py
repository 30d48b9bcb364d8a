"""From the command line to a config: faults are reported before a run begins."""

import argparse
import json
from pathlib import Path

import pytest
import torch

from clsa_search.engine import load_config, setup
from clsa_search.errors import InputError


def arguments(config_file, opts=(), eval_only=False):
    return argparse.Namespace(config_file=config_file, opts=list(opts), eval_only=eval_only)


def test_setup_counts_the_identities_and_finds_the_device(demo_config_file, tiny_opts):
    opts = [*tiny_opts, "MODEL.REID.NUM_IDS", "0", "MODEL.DEVICE", "cuda"]
    cfg = setup(arguments(demo_config_file, opts))
    assert cfg.MODEL.REID.NUM_IDS == 3 and cfg.is_frozen()
    assert cfg.MODEL.DEVICE == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("eval_only", [False, True])
def test_setup_leaves_the_config_of_a_run_as_it_was(demo_config_file, tiny_opts, eval_only):
    cfg = setup(arguments(demo_config_file, tiny_opts, eval_only))
    config = Path(cfg.OUTPUT_DIR) / "config.yaml"
    assert not config.exists()
    config.write_text("SEED: 3\n")
    setup(arguments(demo_config_file, tiny_opts, eval_only))
    assert config.read_text() == "SEED: 3\n"


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.REID.LEVEL", "[]"], "MODEL.REID.LEVEL"),
        (["MODEL.REID.CROP_SIZE", "large"], "CROP_SIZE"),
        (["DATASETS.TRAIN"], "command line"),
    ],
)
def test_wrong_options_are_errors(demo_config_file, opts, message):
    with pytest.raises(InputError, match=message):
        load_config(demo_config_file, opts)


@pytest.mark.parametrize("heads", ["Res5ROIHeads", "MaxPooledRes5ROIHeads"])
def test_roi_heads_without_samples_are_refused_before_training(demo_config_file, tiny_opts, heads):
    opts = [*tiny_opts, "MODEL.ROI_HEADS.NAME", heads]
    message = f"MODEL.ROI_HEADS.NAME is {heads}, .*; expected StandardROIHeads"
    with pytest.raises(InputError, match=message):
        setup(arguments(demo_config_file, opts))
    setup(arguments(demo_config_file, opts, eval_only=True))


def test_wrong_config_files_are_errors(tmp_path):
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


def test_a_config_file_runs_no_code(tmp_path):
    made = tmp_path / "made"
    config = tmp_path / "config.yaml"
    config.write_text(f"OUTPUT_DIR: !!python/object/apply:os.mkdir ['{made}']")
    with pytest.raises(InputError, match="config.yaml: could not determine a constructor"):
        load_config(str(config))
    assert not made.exists()
