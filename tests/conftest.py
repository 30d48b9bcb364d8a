"""Fixtures of all tests: a tiny dataset, a tiny model, and addresses of galleries."""

import logging
import uuid

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.logger import setup_logger

from clsa_search.engine import load_config
from tests.support.tiny import ROOT, TINY_MODEL, make_split


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture(autouse=True)
def loggers():
    """Take away the handlers that a test's command gave to loggers: their stream is closed."""
    yield
    setup_logger.cache_clear()
    for name in ("detectron2", "fvcore", "clsa_search"):
        logging.getLogger(name).handlers.clear()


@pytest.fixture
def fails(run, capsys):
    """Run a test module's command, expect it to fail, and return the last line it prints."""

    def fails(*argv):
        with pytest.raises(SystemExit) as stop:
            run(*argv)
        assert stop.value.code == 2
        error = capsys.readouterr().err
        assert "Traceback" not in error
        return error.splitlines()[-1]

    return fails


@pytest.fixture
def forget_new_names():
    """Remove the datasets that a test registers."""
    before = set(DatasetCatalog.list())
    yield
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """Folder with train.json (8 images) and gallery.json (10 images, 3 queries)."""
    folder = tmp_path_factory.mktemp("tiny")
    make_split(folder, "train", images=8, queries=False)
    make_split(folder, "gallery", images=10, queries=True)
    return folder


@pytest.fixture
def tiny_opts(tiny_data, tmp_path, device):
    """KEY VALUE pairs that shrink the demo's model and point it at the tiny dataset."""
    return [
        *TINY_MODEL,
        *("MODEL.DEVICE", str(device)),
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


@pytest.fixture
def device(request):
    """Device of a test: the CPU, or each of DEVICES by indirect parametrization."""
    return torch.device(getattr(request, "param", "cpu"))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory):
    """Address of a server that holds galleries of any name."""
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
    """Address of a new gallery, for each engine."""
    if request.param == "sqlite":
        return str(tmp_path / "gallery.db")
    server = request.getfixturevalue("milvus_server")
    return f"{server}/gallery_{uuid.uuid4().hex}"
