"""Command lines with bad values, in this process; blocks of color are the people."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clsa_search.data import get_records
from clsa_search.evaluation import Predictions, save_predictions
from clsa_search.retrieval.predictor import PersonSearchPredictor
from tests.data.datasets.test_mot import walk, write_sequence
from tests.fuzz.harness import Trial
from tests.fuzz.mutations import NUMBERS, TEXTS
from tests.support.evaluation_cases import make_image
from tests.support.footage import BlockPredictor, write_image, write_video
from tests.support.tiny import load_tool, make_split

Options = dict[str, Sequence[str]]

_FAR = ["http://localhost:99999/x", "http://[::1", "ftp://a/b", "http://u:p@h/x", "milvus-lite://x"]
_FILES = ["one.png", "door.avi", "street.db", "gallery.json", "p.npz", "w.pth", "footage", "mot"]
_FILES += ["gone", "gone/x", "one.png/x", "/proc/x", "/dev/full", "/dev/null", ".", "n" * 300]
_NUMBERS = [str(number) for number in NUMBERS if number != 10**400]
_SEARCH: Options = {
    "--image": ["one.png", "footage/one.png", *_FILES],
    "--box": ["1,2,30,40", "5,5,60,60", "-5,-5,1e300,1e300"],
    "--person": ["1", "2", "all"],
    "--id": ["1", "2", "9223372036854775808"],
    "--top": ["3", "9223372036854775807"],
    "--per": ["sighting", "image", "match", "all"],
    "--camera": ["door", "yard"],
    "--source": ["footage/one.png", *_FILES],
    "--since": ["0:01", "2026-05-01", "5"],
    "--until": ["0:01", "2026-05-01", "1"],
    "--min-score": ["0.5"],
    "--half": [],
    "--json": [],
    "--output-dir": ["out", *_FILES],
    "--device": ["cpu", "cuda:99", "xyz"],
    "--precision": ["float32"],
    "--weights": ["w.pth", *_FILES],
    "--config-file": ["clsa_crop_R50_prw", *_FILES],
}
_COMMANDS: list[tuple[str, list[str], Options]] = [
    ("search_gallery", ["query", "--store", "street.db", "--id", "1"], _SEARCH),
    ("search_gallery", ["query", "--store", "street.db", "--image", "footage/one.png"], _SEARCH),
    ("search_gallery", ["query"], {**_SEARCH, "--store": [*_FILES, *_FAR]}),
    (
        "search_gallery",
        ["index", "--store", "new.db", "--weights", "w.pth", "footage"],
        {
            "--rate": ["2"],
            "--camera": ["door"],
            "--start-time": ["0:01", "2026-05-01"],
            "--min-score": ["0.5"],
            "--batch-size": ["2", "999999999999"],
            "--store": ["new.db", "street.db", *_FILES, *_FAR],
            "--weights": _FILES,
            "": _FILES,
        },
    ),
    ("search_gallery", ["list"], {"": [*_FILES, *_FAR]}),
    ("search_gallery", ["delete", "copied.db"], {"": ["footage/one.png", *_FILES]}),
    ("search_gallery", ["copy", "street.db"], {"": ["copied.db", *_FILES, *_FAR]}),
    (
        "search_gallery",
        ["serve", "--store", "street.db", "--port", "70000"],
        {"--host": ["0.0.0.0"], "--store": [*_FILES, *_FAR]},
    ),
    (
        "eval_search",
        ["--predictions", "p.npz", "--dataset", "gallery.json"],
        {
            "--dataset": ["coco_2017_val", "prw_gallery", *_FILES],
            "--predictions": _FILES,
            "--compare": ["p.npz", *_FILES],
            "--protocols": ["all", "cross_camera"],
            "--score-threshold": ["0.5"],
            "--weight-by-score": [],
            "--k-reciprocal": ["20 6 0.3", "20 6", "0 0 0"],
            "--cbgm": ["10 3", "0 0", "30 9"],
            "--compat": ["seqnet"],
            "--output-dir": ["out", *_FILES],
            "--json": ["r.json", *_FILES],
            "--sheets": ["1"],
            "--gt-boxes": [],
        },
    ),
    (
        "check_dataset",
        ["gallery.json"],
        {"--draw": ["1"], "--output-dir": _FILES, "": ["coco_2017_val", "prw_train", *_FILES]},
    ),
    (
        "import_mot",
        ["mot", "out"],
        {
            "--split": ["none", "identity", "sequence"],
            "--test-sequences": ["a", "b"],
            "--test-fraction": ["0.5"],
            "--min-visibility": ["0.5"],
            "--frame-step": ["2"],
            "--copy": [],
            "--seed": ["3"],
        },
    ),
    ("import_mot", [], {"": _FILES}),
    (
        "convert_weights",
        ["w.pth", "out.pth"],
        {
            "--reid": _FILES,
            "--config-file": ["clsa_crop_R50_prw", *_FILES],
            "--convention": ["torchvision"],
            "--partial": [],
            "": [*_FILES, "MODEL.DEVICE"],
        },
    ),
    (
        "export_model",
        ["--weights", "w.pth", "--what", "reid", "--format", "onnx", "--output", "out.onnx"],
        {"--output": _FILES, "--config-file": _FILES, "--images": _FILES, "--what": ["model"]},
    ),
    (
        "make_synthetic",
        [
            *("out", "--train-ids", "6", "--test-ids", "6", "--train-images", "8"),
            *("--gallery-images", "14", "--width", "96", "--height", "72", "--min-height", "12"),
            *("--min-people", "3", "--max-people", "4", "--cameras", "2", "--workers", "1"),
        ],
        {
            option: ["6"]
            for option in ("--seed", "--train-ids", "--width", "--min-people", "--min-visible")
        },
    ),
    (
        "train_net",
        ["--config-file", "nowhere.yaml"],
        {"--num-gpus": ["1"], "--config-file": _FILES, "--machine-rank": ["0"], "--dist-url": []},
    ),
]


@contextmanager
def command_lines(folder: Path) -> Iterator[Trial]:
    """Give a command options of which one or two have bad values."""
    tools = {name: load_tool(name).main for name, _, _ in _COMMANDS}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(PersonSearchPredictor, "load", lambda *args, **options: BlockPredictor())
        _write_files(folder, tools["search_gallery"])

        def trial(chance: random.Random) -> None:
            name, given, options = chance.choice(_COMMANDS)
            words = list(given)
            for _ in range(chance.randint(1, 3)):
                words += _choose(options, chance)
            tools[name](words)

        yield trial


def _choose(options: Options, chance: random.Random) -> list[str]:
    option = chance.choice(list(options))
    values = [*options[option], *options[option]]  # right ones as often as bad ones
    value = chance.choice(chance.choice((values or TEXTS, _NUMBERS, TEXTS)))
    words = value.split(" ") if option in ("--k-reciprocal", "--cbgm") else [value]
    if not options[option] and chance.random() < 0.9:
        words = []
    return [option, *words] if option else words


def _write_files(folder: Path, search: Callable[[list[str]], Any]) -> None:
    write_image(folder / "footage" / "one.png", {0: 10, 1: 50})
    write_image(folder / "footage" / "two.png", {0: 70})
    write_image(folder / "one.png", {0: 70})
    write_video(folder / "door.avi", [{3: 2 * i, 1: 80} for i in range(20)])
    torch.save({"model": {"weight": torch.zeros(3)}}, folder / "w.pth")
    index = ["index", "--weights", "w.pth", "--store"]
    search([*index, "street.db", "--camera", "door", "footage", "door.avi"])
    search([*index, "copied.db", "footage"])
    dataset = make_split(folder, "gallery", images=6, queries=True)
    for name in "ab":
        write_sequence(folder / "mot", name, walk(1, 0.5, 0.9, 0.9) + walk(2, 1, 1))
    embeddings = np.eye(5)
    images = {
        record["image_id"]: make_image(
            [(one["bbox"], 0.9, embeddings[one["person_id"]]) for one in record["annotations"]],
            [(q["query_id"], q["bbox"], embeddings[0]) for q in record.get("queries", [])],
            width=5,
        )
        for record in get_records(str(dataset))
    }
    save_predictions(Predictions.from_images(images), folder / "p.npz")
