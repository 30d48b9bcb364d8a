"""Runs of the ablation: on crops, from one detector, in several jobs and in order."""

import json

import pytest
import torch
from detectron2.modeling import build_model

from benchmarks.ablation.detector import DETECTOR_FILE, write_detector_weights
from benchmarks.ablation.runs import plan_runs
from benchmarks.ablation.variants import VARIANTS
from clsa_search.engine import PersonSearchCheckpointer
from clsa_search.errors import InputError
from tests.support.tiny import ROOT, TINY_MODEL, load_tool


@pytest.fixture
def ablate_crops(tiny_data, tmp_path, capsys):
    """Runs the command on crops into tmp_path / "grid"; returns what it printed."""
    tool = load_tool("ablate")
    sets = {name: f"('crops:{tiny_data / name}.json',)" for name in ("train", "gallery")}

    def ablate_crops(*argv):
        words = ["--config-file", "reid_small_synthetic_demo", *argv, *TINY_MODEL]
        words += ["DATASETS.TRAIN", sets["train"], "DATASETS.TEST", sets["gallery"]]
        words += ["SOLVER.IMS_PER_BATCH", "4", "DATALOADER.IMS_PER_IDENTITY", "2"]
        words += ["SOLVER.MAX_ITER", "2"]
        position = words.index("MODEL.DEVICE")
        words[position:position] = ["--output-dir", str(tmp_path / "grid")]
        tool.main(words)
        return capsys.readouterr().out

    return ablate_crops


TWO_BY_TWO = ["--variants", "no_alignment", "alignment", "--seeds", "1", "2"]


CROPS = ["--variants", "no_alignment", "sd", "--seeds", "1", "2", "--jobs", "2"]


def test_a_run_of_crops_is_one_training_with_its_evaluation(ablate_crops, tmp_path):
    out = ablate_crops(*CROPS)
    assert out.count("mAP") == 4
    folder = tmp_path / "grid" / "sd" / "seed2"
    assert len([*folder.glob("inference/*/predictions.npz")]) == 1
    assert not (folder / "eval").exists()
    assert not [*folder.glob("*.pth")], "weights of crops are not kept"
    losses = json.loads((folder / "metrics.json").read_text().splitlines()[0])
    assert {"loss_same_res3", "loss_decorrelation"} <= losses.keys()
    text = (tmp_path / "grid" / "ablation.json").read_text()
    summary = json.loads(text)["variants"]["sd"]
    assert list(summary["runs"]) == ["1", "2"] and summary["change_seeds"] == [1, 2]
    assert set(summary["spread"]["rho"]) == {"res3, res4", "res3, res5", "res4, res5"}
    assert "gt_boxes" not in summary["spread"], "crops are ground-truth boxes"
    assert "finished before" in ablate_crops(*CROPS)
    table = (tmp_path / "grid" / "ablation.md").read_text(encoding="utf-8")
    assert "ground-truth boxes" not in table and "| rho |" in table


def test_several_jobs_have_one_thread_each(ablate, processes, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    ablate(*TWO_BY_TWO, "--jobs", "3")
    assert processes.threads == {"1"} and len(processes.started) == 8
    processes.threads.clear()
    ablate("--variants", "sd", "--seeds", "1")
    assert processes.threads == {None}, "PyTorch's own choice"


@pytest.fixture
def trained(tiny_cfg, tmp_path):
    """A checkpoint of ours, classifiers included."""
    model = build_model(tiny_cfg)
    PersonSearchCheckpointer(model, str(tmp_path)).save("trained")
    return tmp_path / "trained.pth"


def test_runs_share_a_detector_and_nothing_else(tiny_cfg, trained, tmp_path):
    target = tmp_path / "grid" / DETECTOR_FILE
    write_detector_weights(tiny_cfg, trained, target)
    torch.manual_seed(7)
    model = build_model(tiny_cfg)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    PersonSearchCheckpointer(model).load(str(target))
    source = torch.load(trained, weights_only=True)["model"]
    for key, value in model.state_dict().items():
        of_reid = key.startswith(("reid_branch.", "reid_heads.", "reid_criterion."))
        assert value.equal(before[key] if of_reid else source[key]), key
    assert not model.reid_criterion.classifiers["res5"].weight.equal(
        source["reid_criterion.classifiers.res5.weight"]
    )


def test_all_runs_start_from_the_detector(ablate, processes, trained, tmp_path):
    ablate(*TWO_BY_TWO, "--detector-weights", trained)
    for words in processes.started[::2]:
        assert words[words.index("MODEL.WEIGHTS") + 1] == str(tmp_path / "grid" / DETECTOR_FILE)
    assert torch.load(tmp_path / "grid" / DETECTOR_FILE, weights_only=True)["model"]
    assert str(trained) in (tmp_path / "grid" / "ablation.md").read_text(encoding="utf-8")


def test_another_detector_is_refused(tiny_cfg, trained, tmp_path):
    target = tmp_path / "grid" / DETECTOR_FILE
    write_detector_weights(tiny_cfg, trained, target)
    written = target.stat().st_mtime_ns
    write_detector_weights(tiny_cfg, trained, target)
    assert target.stat().st_mtime_ns == written, "runs may have started from it"
    checkpoint = torch.load(trained, weights_only=True)
    checkpoint["model"]["backbone.fpn_lateral2.norm.bias"] += 1
    torch.save(checkpoint, trained)
    with pytest.raises(InputError, match="holds another detector than"):
        write_detector_weights(tiny_cfg, trained, target)
    tiny_cfg.MODEL.FPN.OUT_CHANNELS = 16
    with pytest.raises(InputError, match=r"does not fit the config's detector: backbone"):
        write_detector_weights(tiny_cfg, trained, tmp_path / "other.pth")


def test_runs_go_seed_by_seed(demo_config_file, tiny_opts, tmp_path):
    planned = plan_runs(
        [VARIANTS["single"], VARIANTS["alignment"]],
        [3, 1, 3],
        config_file=demo_config_file,
        opts=[*tiny_opts, "MODEL.REID.LEVELS", "['res4', 'res5']"],
        output_dir=tmp_path,
        tools=ROOT / "tools",
    )
    assert [(run.variant.name, run.seed) for run in planned] == [
        *(("single", 3), ("alignment", 3), ("single", 1), ("alignment", 1))
    ]
    assert [run.cfg.MODEL.REID.LEVELS for run in planned[:2]] == [["res5"], ["res4", "res5"]]
    assert planned[2].folder == tmp_path / "single" / "seed1"
