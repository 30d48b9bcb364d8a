"""Command tools/ablate.py: its table, resumed runs, and bad input."""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from detectron2.modeling import build_model

from benchmarks.ablation import runs
from benchmarks.ablation.detector import DETECTOR_FILE, write_detector_weights
from benchmarks.ablation.run_metrics import evaluate_run
from benchmarks.ablation.runs import Run, RunFailure, execute, plan_runs
from benchmarks.ablation.variants import GRIDS, VARIANTS
from clsa_search.data import get_records
from clsa_search.engine import PersonSearchCheckpointer, load_config
from clsa_search.errors import InputError
from clsa_search.evaluation import (
    full_gallery_protocol,
    load_predictions,
    save_predictions,
)
from tests.support import reference_metrics
from tests.support.ablation_cases import make_predictions
from tests.support.tiny import ROOT, TINY_MODEL, load_tool


@pytest.fixture
def processes(monkeypatch, tiny_data):
    """Stands for training and evaluation; `started` tells what was, `broken` what fails."""

    processes = SimpleNamespace(started=[], broken="", threads=set())

    def run(command, stdout, stderr, env):
        words = command[1:]
        processes.started.append(words)
        processes.threads.add(env.get("OMP_NUM_THREADS"))
        if processes.broken and any(processes.broken in word for word in words):
            stdout.write(b"two lines\nerror: out of memory\n")
            return subprocess.CompletedProcess(command, 3)
        if words[0].endswith("eval_search.py"):
            folder = Path(words[words.index("--output-dir") + 1])
            variant, seed = folder.parent.parent.name, folder.parent.name
            predictions = make_predictions(
                tiny_data / "gallery.json", [len(variant), int(seed[4:])]
            )
            save_predictions(predictions, folder / "predictions.npz")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(runs.subprocess, "run", run)
    return processes


@pytest.fixture
def ablate(demo_config_file, tiny_opts, tmp_path, capsys):
    """Runs the command into tmp_path / "grid"; returns what it printed."""
    tool = load_tool("ablate")

    def ablate(*argv, opts=()):
        folder = ["--output-dir", str(tmp_path / "grid")]
        words = ["--config-file", demo_config_file, *argv, *folder, *tiny_opts, *opts]
        try:
            tool.main(list(map(str, words)))
        finally:
            ablate.printed = capsys.readouterr()
        return ablate.printed.out

    return ablate


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


def test_two_variants_by_two_seeds_agree_with_the_literal_reference(
    ablate, processes, tiny_data, tmp_path
):
    ablate(*TWO_BY_TWO)
    variants = json.loads((tmp_path / "grid" / "ablation.json").read_text())["variants"]
    protocol = full_gallery_protocol(get_records(str(tiny_data / "gallery.json")))
    expected = {}
    for name in ("no_alignment", "alignment"):
        for seed in (1, 2):
            path = tmp_path / "grid" / name / f"seed{seed}" / "eval" / "predictions.npz"
            results = reference_metrics.search(load_predictions(path), protocol, 0.5)
            expected[name, seed] = 100 * statistics.mean(precision for precision, *_ in results)
            assert variants[name]["runs"][str(seed)]["search"]["mAP"] == pytest.approx(
                expected[name, seed]
            )
    assert len(set(expected.values())) == 4, "the runs differ, so that means can be wrong"
    for name in ("no_alignment", "alignment"):
        values = [expected[name, seed] for seed in (1, 2)]
        spread = variants[name]["spread"]["search"]["mAP"]
        assert spread["mean"] == pytest.approx(statistics.mean(values))
        assert spread["deviation"] == pytest.approx(statistics.stdev(values))
    gains = [expected["alignment", seed] - expected["no_alignment", seed] for seed in (1, 2)]
    change = variants["alignment"]["change"]["search"]["mAP"]
    assert change["mean"] == pytest.approx(statistics.mean(gains))
    assert change["deviation"] == pytest.approx(statistics.stdev(gains))
    assert variants["no_alignment"]["change"] is None, "its own baseline"

    table = (tmp_path / "grid" / "ablation.md").read_text(encoding="utf-8")
    line = next(line for line in table.splitlines() if line.startswith("| KL to the detached"))
    assert "Compared with *all levels, no alignment*:" in table
    for found in (spread, change):  # the interval of two seeds by Student's t
        assert found["margin"] == pytest.approx(12.7062 * found["deviation"] / 2**0.5, rel=1e-5)
    assert f" {spread['mean']:.1f} ± {spread['margin']:.1f} |" in line
    assert f" {change['mean']:+.1f} ± {change['margin']:.1f} |" in line
    assert " 1, 2 |" in line
    assert (tmp_path / "grid" / "scale_ratio.png").stat().st_size > 10_000


def test_finished_runs_are_not_repeated(ablate, processes, tmp_path):
    ablate(*TWO_BY_TWO)
    assert len(processes.started) == 8
    first = (tmp_path / "grid" / "ablation.json").read_text()
    processes.started.clear()
    assert ablate(*TWO_BY_TWO).count("finished before") == 4
    assert processes.started == []
    assert (tmp_path / "grid" / "ablation.json").read_text() == first


def test_failed_runs_are_resumed(ablate, processes, tmp_path):
    processes.broken = "alignment/seed1/eval"
    with pytest.raises(SystemExit, match="2 of 4 runs failed"):
        ablate(*TWO_BY_TWO)
    assert "FAILED: eval_search.py ended with status 3: error: out of memory" in ablate.printed.out
    assert len(processes.started) == 8, "a failure does not end the grid"
    variants = json.loads((tmp_path / "grid" / "ablation.json").read_text())["variants"]
    assert list(variants["alignment"]["runs"]) == ["2"]
    assert variants["alignment"]["spread"]["search"]["mAP"]["deviation"] is None, "of one seed"
    processes.broken = ""
    processes.started.clear()
    ablate(*TWO_BY_TWO)
    assert len(processes.started) == 4, "the two that failed"
    assert all("seed1" in " ".join(words) for words in processes.started)
    assert all("--resume" in words for words in processes.started[::2])


def test_the_commands_train_and_evaluate_a_run(ablate, tmp_path):
    ablate("--variants", "no_alignment", "--seeds", "5", opts=["SOLVER.MAX_ITER", "2"])
    folder = tmp_path / "grid" / "no_alignment" / "seed5"
    assert (folder / "model_final.pth").is_file() and (folder / "eval" / "results.json").is_file()
    trained = load_config(str(folder / "config.yaml"))
    assert (trained.SEED, trained.MODEL.REID.ALIGN.WEIGHT) == (5, 0.0)
    losses = json.loads((folder / "metrics.json").read_text().splitlines()[0])
    assert "loss_align_res3" not in losses and losses["loss_id_res3"] > 0


def test_a_dry_run_prints_the_commands_and_does_nothing(ablate, processes, tmp_path):
    lines = ablate("--dry-run", *TWO_BY_TWO, "--num-gpus", "4").splitlines()
    assert lines[0] == "# no_alignment, seed 1" and len(lines) == 12
    assert "--num-gpus 4 --resume" in lines[1] and "MODEL.REID.ALIGN.WEIGHT 0.0" in lines[1]
    assert processes.started == [] and not (tmp_path / "grid").exists()


@pytest.mark.parametrize("name", GRIDS["full"])
def test_every_variant_is_another_model(name, tiny_cfg):
    def is_built(cfg):
        model = build_model(cfg)
        criterion = model.reid_criterion
        settings = {key: value for key, value in vars(criterion).items() if key[0] != "_"}
        return settings | {
            "levels": list(model.reid_heads),
            "heads": repr(model.reid_heads),
            "classifier": repr(criterion.classifiers),
            "branch": cfg.MODEL.REID.NAME,
            "backbone": repr(model.reid_branch),
            "average": cfg.SOLVER.EMA.ENABLED,
        }

    tiny_cfg.merge_from_list(VARIANTS["alignment"].opts)
    reference = is_built(tiny_cfg)
    tiny_cfg.merge_from_list(VARIANTS[name].opts)
    changed = {key for key, value in is_built(tiny_cfg).items() if value != reference[key]}
    assert bool(changed) == (name != "alignment")
    assert ("branch" in changed) == name.startswith("shared")
    assert ("classifier" in changed) == any(word in name for word in ("oim", "single", "cosine"))
    assert ("levels" in changed) == (name == "single")
    assert ("align_weight" in changed) == (VARIANTS[name].changes["MODEL.REID.ALIGN.WEIGHT"] == 0)


@pytest.mark.parametrize(
    ("argv", "opts", "message"),
    [
        (
            ["--variants", "aligned"],
            [],
            "'aligned' is unknown; expected some of no_alignment",
        ),
        (["--variants", "alignment", "t3"], [], "'alignment' and 't3' are the same model"),
        (["--seeds", "-1"], [], "--seeds: -1"),
        ([], ["DATASETS.TEST", "('a.json', 'b.json')"], "DATASETS.TEST is"),
        ([], ["MODEL.RIED", "1"], "MODEL.RIED"),
        (["--detector-weights", "no.pth"], [], "no.pth: not a checkpoint that can be read"),
    ],
)
def test_bad_input_is_reported_before_any_run(ablate, processes, argv, opts, message):
    with pytest.raises(SystemExit):
        ablate(*argv, opts=opts)
    assert processes.started == []
    assert message in ablate.printed.err and ablate.printed.err.startswith("error: ")


def test_runs_of_another_config_are_refused(ablate, processes, tmp_path):
    one = ["--variants", "alignment", "--seeds", "1"]
    ablate(*one)
    ablate(*one, opts=["DATALOADER.NUM_WORKERS", "1"])  # another machine, the same model
    with pytest.raises(SystemExit):
        ablate(*one, opts=["SOLVER.MAX_ITER", "9"])
    assert "SOLVER.MAX_ITER was 800, now it is 9" in ablate.printed.err
    (tmp_path / "grid" / "alignment" / "seed1" / "requested.yaml").unlink()
    (tmp_path / "grid" / "alignment" / "seed1" / "last_checkpoint").write_text("model_final.pth")
    with pytest.raises(SystemExit):
        ablate(*one)
    assert "holds a checkpoint but no requested.yaml" in ablate.printed.err


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"- 1", b"SEED: 1"])
def test_a_damaged_config_of_a_run_is_named(ablate, processes, tmp_path, content):
    one = ["--variants", "alignment", "--seeds", "1"]
    ablate(*one)
    (tmp_path / "grid" / "alignment" / "seed1" / "requested.yaml").write_bytes(content)
    for argv in [["--summary"], one][: 1 if content.startswith(b"SEED") else 2]:
        with pytest.raises(SystemExit):
            ablate(*argv)
        assert ablate.printed.err.startswith("error: ")
        assert "alignment/seed1/requested.yaml: " in ablate.printed.err
    folder = tmp_path / "grid" / "alignment" / "seed1" / "eval"
    with pytest.raises(InputError, match="embeddings are 24 wide; expected 1 x 8"):
        evaluate_run(folder, "not read before", ["res5"], 8)


def test_the_log_keeps_the_output_of_a_failed_process(tmp_path):
    script = tmp_path / "crash.py"
    script.write_text("print('before'); raise SystemExit('error: no more memory')")
    cfg = load_config("")
    command = [sys.executable, str(script)]
    with pytest.raises(RunFailure, match=r"crash.py ended with status 1: error: no more memory"):
        execute(Run(VARIANTS["alignment"], 1, cfg, tmp_path / "run", [command, command]))
    assert (tmp_path / "run" / "output.log").read_text().count("before") == 1


@pytest.mark.parametrize("grid", GRIDS)
def test_the_variants_of_a_grid_are_distinct_models(grid):
    models = {tuple(VARIANTS[name].opts) for name in GRIDS[grid]}
    assert len(models) == len(GRIDS[grid]) and {*GRIDS["main"]} <= {*GRIDS["full"]}


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


def test_finished_runs_of_a_folder_are_summarized(ablate, processes, tmp_path, capsys):
    ablate(*TWO_BY_TWO)
    before = json.loads((tmp_path / "grid" / "ablation.json").read_text())["variants"]
    for name in ("no_alignment/seed2", "alignment/seed1"):
        (tmp_path / "grid" / name / "eval" / "predictions.npz").unlink()
    processes.started.clear()
    load_tool("ablate").main(["--summary", "--output-dir", str(tmp_path / "grid")])
    assert processes.started == []
    after = json.loads((tmp_path / "grid" / "ablation.json").read_text())["variants"]
    assert after["no_alignment"]["runs"] == {"1": before["no_alignment"]["runs"]["1"]}
    assert after["alignment"]["runs"] == {"2": before["alignment"]["runs"]["2"]}
    assert after["alignment"]["change"] is None, "no common seed"


def test_a_summary_of_no_run_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        load_tool("ablate").main(["--summary", "--output-dir", str(tmp_path)])
    assert "holds no finished run" in capsys.readouterr().err


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
