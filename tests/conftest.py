"""A dataset of a few small pictures and a model small enough to train in seconds."""

import importlib.util
import uuid
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from clsa_search.data import save_search_json
from clsa_search.engine import load_config

ROOT = Path(__file__).parent.parent
COLOURS = [(40, 40, 200), (40, 200, 40), (200, 40, 40), (40, 200, 200)]
TINY_MODEL = [
    *("MODEL.DEVICE", "cpu"),
    *("MODEL.RESNETS.DEPTH", "50", "MODEL.RESNETS.WIDTH_PER_GROUP", "4"),
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", "8", "MODEL.RESNETS.RES2_OUT_CHANNELS", "16"),
    *("MODEL.REID.RESNETS.DEPTH", "50", "MODEL.REID.RESNETS.WIDTH_PER_GROUP", "4"),
    *("MODEL.REID.RESNETS.STEM_OUT_CHANNELS", "8"),
    *("MODEL.REID.RESNETS.RES2_OUT_CHANNELS", "16"),
    *("MODEL.FPN.OUT_CHANNELS", "8", "MODEL.ROI_BOX_HEAD.FC_DIM", "16"),
    *("MODEL.REID.HEAD.HIDDEN_DIM", "16", "MODEL.REID.HEAD.EMBED_DIM", "8"),
    *("MODEL.REID.CROP_SIZE", "[32, 16]"),
    *("MODEL.RPN.POST_NMS_TOPK_TEST", "20", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"),
    *("INPUT.MIN_SIZE_TRAIN", "(72, 96)", "INPUT.MIN_SIZE_TEST", "96"),
    *("DATALOADER.NUM_WORKERS", "0", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.WARMUP_ITERS", "0"),
]
"""KEY VALUE pairs that shrink the demo's model until it trains in seconds."""


def draw_split(folder: Path, name: str, *, images: int, queries: bool) -> Path:
    """Pictures of 96 x 72 with three coloured blocks each; block k is person k, the last unknown.

    Sizes and places change from picture to picture; every fourth picture is empty.
    """
    rng = np.random.default_rng(images)
    folder.mkdir(parents=True, exist_ok=True)
    entries, annotations = [], []
    for i in range(images):
        picture = rng.integers(90, 130, (72, 96, 3), dtype=np.uint8)
        entries.append(
            {"id": i, "file_name": f"{name}_{i}.png", "width": 96, "height": 72, "cam_id": i % 2}
        )
        for slot, pid in enumerate(rng.permutation(4)[:3] if i % 4 != 3 else ()):
            h = int(rng.integers(24, 60))
            x, y, w = 4 + 31 * slot, 72 - h - 4, h // 3
            picture[y : y + h, x : x + w] = COLOURS[pid]
            annotations.append(
                {"image_id": i, "bbox": [x, y, w, h], "person_id": int(pid) if pid < 3 else -1}
            )
        cv2.imwrite(str(folder / entries[-1]["file_name"]), picture)
    firsts = {a["person_id"]: a for a in reversed(annotations) if a["person_id"] >= 0}
    save_search_json(
        folder / f"{name}.json",
        images=entries,
        annotations=annotations,
        queries=list(firsts.values()) if queries else [],
    )
    return folder / f"{name}.json"


def load_tool(name):
    """The module of a command, tools/<name>.py."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def fails(run, capsys):
    """Runs a test module's command, which must fail, and returns the last line of its complaint."""

    def fails(*argv):
        with pytest.raises(SystemExit) as stop:
            run(*argv)
        assert stop.value.code == 2
        error = capsys.readouterr().err
        assert "Traceback" not in error
        return error.splitlines()[-1]

    return fails


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """Folder with train.json (8 pictures) and gallery.json (10 pictures, 3 queries)."""
    folder = tmp_path_factory.mktemp("tiny")
    draw_split(folder, "train", images=8, queries=False)
    draw_split(folder, "gallery", images=10, queries=True)
    return folder


@pytest.fixture
def tiny_opts(tiny_data, tmp_path):
    """KEY VALUE pairs that shrink the demo's model and point it at the tiny dataset."""
    return [
        *TINY_MODEL,
        *("MODEL.REID.NUM_IDS", "3", "SOLVER.STEPS", "()", "TEST.EVAL_PERIOD", "0"),
        *("DATASETS.TRAIN", f"('{tiny_data / 'train.json'}',)"),
        *("DATASETS.TEST", f"('{tiny_data / 'gallery.json'}',)"),
        *("OUTPUT_DIR", str(tmp_path / "output")),
    ]


@pytest.fixture
def demo_config_file():
    return str(ROOT / "configs" / "clsa_small_synthetic_demo.yaml")


@pytest.fixture
def tiny_cfg(demo_config_file, tiny_opts):
    return load_config(demo_config_file, tiny_opts)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory):
    """Address of a server, for galleries of any name."""
    pytest.importorskip("pymilvus", reason="needs clsa_search[milvus]: pymilvus is not installed")
    lite = pytest.importorskip(
        "milvus_lite.server_manager",
        reason="needs clsa_search[milvus]: milvus-lite is not installed",
    )
    path = str(tmp_path_factory.mktemp("milvus") / "server.db")
    yield lite.server_manager_instance.start_and_get_uri(path)
    lite.server_manager_instance.release_server(path)


@pytest.fixture(params=["sqlite", "milvus"])
def store_address(request, tmp_path):
    """Where a new gallery can be made, of each engine."""
    if request.param == "sqlite":
        return str(tmp_path / "gallery.db")
    server = request.getfixturevalue("milvus_server")
    return f"{server}/gallery_{uuid.uuid4().hex}"
