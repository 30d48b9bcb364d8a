"""Videos whose frames differ from each other, and the comparison of two ways to read them."""

from contextlib import closing

import numpy as np
import pytest

from clsa_search.retrieval.frame_reader import FrameReader, read_frame
from clsa_search.retrieval.video import sample_video
from tests.support.footage import write_video


def write_turning(path, frames=150, codec="mp4v", start=0):
    """Write a video whose frames differ from each other."""
    walk = [{i % 4: 2 * (i % 37)} for i in range(start, start + frames)]
    return write_video(path, walk, fps=25, codec=codec)


def check_rereading(path, numbers=None, times=None):
    """Check that every frame is read again as it was sampled; return the frames."""
    frames = list(sample_video(str(path), 1000))
    found = [frame.number for frame in frames]
    assert found == list(found if numbers is None else numbers)
    assert found == sorted(set(found))
    seconds = [frame.time for frame in frames]
    assert seconds == sorted(set(seconds))
    if times is not None:
        assert seconds == pytest.approx(times)
    with closing(FrameReader()) as reader:
        for position in np.random.default_rng(0).permutation(len(frames))[:40]:
            again = reader.read(str(path), frames[position].number)
            assert (again == frames[position].image).all()
    for position in (0, len(frames) // 3, -1):
        assert (read_frame(str(path), frames[position].number) == frames[position].image).all()
    return frames
