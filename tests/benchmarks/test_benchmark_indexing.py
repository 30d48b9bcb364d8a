"""Speed of indexing: the parts alone and the whole."""

import pytest
import torch

from benchmarks.speed.indexing import measure_indexing

CPU = torch.device("cpu")


@pytest.fixture
def measurements(tiny_cfg, tmp_path):
    options = {"size": (72, 96), "boxes": 3, "images": 4, "threads": 2, "rate": 5}
    measurements = list(measure_indexing(tiny_cfg, tmp_path, device=CPU, repeat=1, **options))
    return {measurement.name: measurement for measurement in measurements}


def test_parts_are_measured_apart_and_together(measurements, tmp_path):
    media = ["images by 1 thread", "images by 2 threads", "video by 2 threads"]
    assert list(measurements) == [
        *("model alone", "storing alone"),
        *(name for one in media for name in (f"reading {one} alone", f"indexing {one}")),
    ]
    for one in media:
        whole = measurements[f"indexing {one}"]
        assert whole.notes["stored detections"] == 3
        parts = {"model": "model alone", "storing": "storing alone"}
        parts["reading"] = f"reading {one} alone"
        parts = {part: measurements[name] for part, name in parts.items()}
        assert whole.limit_seconds == max(part.seconds for part in parts.values())
        assert whole.limit_seconds == parts[whole.notes["slowest part"]].seconds
    assert measurements["model alone"].operations.flops > 0
    assert not list(tmp_path.glob("[!o]*"))  # nothing is left
