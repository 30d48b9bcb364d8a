"""Too little shared memory is an error before the loading processes start, not a run that hangs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from detectron2.data.transforms import ResizeShortestEdge

from clsa_search.data.build import estimate_test_memory, estimate_training_memory
from clsa_search.data.shared_memory import (
    check_shared_memory,
    estimate_shared_memory,
    measure_shared_memory,
    resize_shortest_edge,
)
from clsa_search.errors import InputError
from tests.support.tiny import ROOT


def test_too_little_memory_is_named_with_the_needed_amount():
    message = (
        r"NUM_WORKERS is 4, but /dev/shm has 64 MiB free.*need about 292 MiB.*"
        r"--shm-size 1g.*DATALOADER.NUM_WORKERS 0"
    )
    with pytest.raises(InputError, match=message):
        check_shared_memory(292 << 20, 64 << 20, 4)


@pytest.mark.parametrize(("needed", "free"), [(64, 64), (0, 0), (10**12, None)])
def test_enough_memory_passes(needed, free):
    check_shared_memory(needed, free, 4)


def test_the_need_follows_from_workers_batch_and_largest_image():
    sizes = [(10, 20), (30, 40)]
    # each of 2 processes holds 2 batches, and 1 is in use: 5 batches of 8 images of 30 x 40 x 3
    assert estimate_shared_memory(sizes, batch_size=8, num_workers=2) == 5 * 8 * 3 * 30 * 40
    assert estimate_shared_memory(sizes, batch_size=8, num_workers=0) == 0
    assert estimate_shared_memory([], batch_size=8, num_workers=2) == 0


@pytest.mark.parametrize("size", [(480, 640), (1080, 1920), (300, 2000), (37, 31)])
def test_images_are_resized_as_by_detectron2(size):
    expected = ResizeShortestEdge.get_output_shape(*size, 900, 1500)
    assert resize_shortest_edge(size, 900, 1500) == expected
    assert resize_shortest_edge(size, 0, 1500) == size


def test_a_config_needs_memory_for_its_own_batches(tiny_cfg):
    tiny_cfg.merge_from_list(["DATALOADER.NUM_WORKERS", "3", "INPUT.MIN_SIZE_TRAIN", "(48, 144)"])
    records = [{"height": 72, "width": 96}]
    assert estimate_training_memory(tiny_cfg, records) == 7 * 2 * 3 * 144 * 192
    assert estimate_test_memory(tiny_cfg, records) == 7 * 4 * 3 * 96 * 128


def test_the_memory_of_this_machine_is_measured():
    free = measure_shared_memory()
    assert (free is None) == (not os.path.isdir("/dev/shm"))
    assert free is None or free >= 0


def test_training_with_a_small_shared_memory_ends_at_once(demo_config_file, tiny_opts, tmp_path):
    """A real /dev/shm of 64 KB, in a mount namespace of its own."""
    mount = "mount -t tmpfs -o size=64k none /dev/shm"
    isolated = [shutil.which("unshare") or "unshare", "--mount", "sh", "-c"]
    try:
        subprocess.run([*isolated, mount], check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("cannot mount a small /dev/shm here: it needs root and mount namespaces")
    opts = [*tiny_opts, "DATALOADER.NUM_WORKERS", "2"]
    command = [sys.executable, str(ROOT / "tools" / "train_net.py")]
    command += ["--config-file", demo_config_file, *opts]
    done = subprocess.run(
        [*isolated, f'{mount} && exec "$@"', "sh", *command],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 2 and "Traceback" not in done.stdout + done.stderr
    assert "/dev/shm has 0 MiB free" in done.stderr and "--shm-size" in done.stderr
    assert not list(Path(tmp_path / "output").glob("*.pth"))
