"""Indexing that is measured: what is stored is stored, and each part is measured alone."""

import pytest
import torch

from benchmarks.speed.indexing import measure_index

CPU = torch.device("cpu")


@pytest.fixture
def figures(tiny_cfg, tmp_path):
    options = {"size": (72, 96), "people": 3, "pictures": 4, "threads": 2}
    figures = list(measure_index(tiny_cfg, tmp_path, device=CPU, repeat=1, **options))
    return {figure.name: figure for figure in figures}


def test_parts_are_measured_apart_and_together(figures, tmp_path):
    media = ["photographs by 1 thread", "photographs by 2 threads", "video by 2 threads"]
    assert list(figures) == [
        *("model alone", "storing alone"),
        *(name for one in media for name in (f"reading {one} alone", f"indexing {one}")),
    ]
    for one in media:
        whole = figures[f"indexing {one}"]
        assert whole.notes["people stored"] == 3
        parts = {"model": "model alone", "storing": "storing alone"}
        parts = {k: figures[v] for k, v in (parts | {"reading": f"reading {one} alone"}).items()}
        assert whole.limit_seconds == max(part.seconds for part in parts.values())
        assert whole.limit_seconds == parts[whole.notes["slowest part"]].seconds
    assert figures["model alone"].operations.flops > 0
    assert not list(tmp_path.glob("[!o]*"))  # nothing is left
