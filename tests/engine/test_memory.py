"""Reuse of freed CPU memory."""

import ctypes
import subprocess
import sys

import pytest
import torch

from clsa_search.engine.memory import keep_freed_memory, release_freed_memory


def count_page_faults(script):
    """Return the page faults of a new process for twenty allocations of 64 MB after a script."""
    code = f"""
import resource
import torch
from clsa_search.engine.memory import keep_freed_memory, release_freed_memory
{script}
for _ in range(20):
    torch.ones(1 << 24)
    before = before if _ else resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"),
    reason="only glibc returns freed memory at once",
)
def test_freed_memory_is_used_again():
    assert 5 * count_page_faults("assert keep_freed_memory()") < count_page_faults("")


def test_other_devices_change_nothing(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", None)  # a call would fail
    assert not keep_freed_memory("cuda")
    assert not keep_freed_memory(torch.device("cuda", 1))


def test_other_systems_change_nothing(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    assert not keep_freed_memory()
    release_freed_memory()
