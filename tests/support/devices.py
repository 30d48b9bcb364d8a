"""Devices of tests that run on the CPU and, where there is one, on a GPU."""

import pytest
import torch

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
"""Parameters of the fixture `device`, with `indirect=True`."""


@pytest.fixture(params=DEVICES)
def both_devices(request, monkeypatch):
    """Each device. `device = both_devices` in a module runs its tests with `device` on both.

    Convolutions in TF32 would need wide tolerances.
    """
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return torch.device(request.param)


def tolerance(device):
    """Return the absolute tolerance of unit embeddings: a GPU chooses kernels by the batch."""
    return 1e-4 if device.type == "cuda" else 1e-5
