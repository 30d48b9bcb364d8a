"""Devices of tests that run on the CPU and, where there is one, on a GPU."""

import pytest

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
"""Parameters of the fixture `device`, with `indirect=True`."""
