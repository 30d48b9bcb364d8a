"""Command tools/ablate.py: its table, resumed runs, and bad input."""

import json
import statistics
import sys

import pytest
from detectron2.modeling import build_model

from benchmarks.ablation.run_metrics import evaluate_run
from benchmarks.ablation.runs import Run, RunFailure, execute
from benchmarks.ablation.variants import GRIDS, VARIANTS
from clsa_search.data import get_records
from clsa_search.engine import load_config
from clsa_search.errors import InputError
from clsa_search.evaluation import (
    full_gallery_protocol,
    load_predictions,
)
from tests.support import reference_metrics
from tests.support.tiny import load_tool

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
