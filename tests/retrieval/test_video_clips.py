"""Clips of videos: original packets, or animations with boxes."""

import io
import os
import shutil
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from clsa_search.errors import InputError
from clsa_search.retrieval.video import Video
from clsa_search.retrieval.video_clips import TimedBox, animate_span, copy_span, cut_clip, find_box
from tests.support.footage import write_video

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg on PATH")
BOX = (10.0, 20.0, 24.0, 60.0)


@pytest.fixture
def video(tmp_path):
    """Six seconds in which a block moves to the right by 10 pixels per second."""
    return str(write_video(tmp_path / "door.avi", [{3: i} for i in range(60)], fps=10))


def read_frames(content):
    with Image.open(io.BytesIO(content)) as image:
        frames = []
        for i in range(image.n_frames):
            image.seek(i)
            frames.append(np.array(image.convert("RGB")))
        return frames, image.info


def test_an_animation_shows_the_span_and_the_boxes(video, monkeypatch):
    monkeypatch.setenv("PATH", "")
    boxes = [TimedBox(1, BOX), TimedBox(3, (30, 20, 44, 60))]
    clip = cut_clip(video, 1.0, 3.0, boxes)
    assert (clip.suffix, clip.is_original) == (".webp", False)
    frames, info = read_frames(clip.content)
    assert len(frames) in (10, 11) and info["duration"] == 200
    assert frames[0].shape == (72, 96, 3)
    orange = np.array((230, 159, 0))
    for frame, left in ((frames[0], 10), (frames[5], 20)):
        assert np.abs(frame[30:50, left].astype(int) - orange).mean() < 70  # lossy, thin line
    plain, _ = read_frames(cut_clip(video, 1.0, 3.0).content)
    assert np.abs(plain[0][30:50, 10].astype(int) - orange).mean() > 100


def test_an_animation_is_deterministic(video):
    assert animate_span(video, 0, 2) == animate_span(video, 0, 2)


def test_a_long_span_is_cut_around_the_boxes(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    path = str(write_video(tmp_path / "a.avi", [{3: i % 80} for i in range(300)], fps=10))
    boxes = [TimedBox(seconds, BOX) for seconds in (19, 20, 21)]
    frames, _ = read_frames(cut_clip(path, -5, 30, boxes).content)
    assert len(frames) in (50, 51)
    assert len(read_frames(cut_clip(path, 25, 40).content)[0]) in (25, 26)  # ends at 30


@pytest.mark.parametrize(
    ("seconds", "left"), [(0.4, None), (0.6, 0), (1, 0), (2, 20), (3.5, 50), (8, None), (9, 90)]
)
def test_a_box_lies_between_those_around_it(seconds, left):
    boxes = [TimedBox(t, (x, 0, x + 10, 10)) for t, x in ((1, 0), (3, 40), (4, 60), (10, 90))]
    box = find_box(boxes, seconds)
    assert (None if box is None else box[0]) == left


def test_unreadable_spans_are_named(video, tmp_path):
    with pytest.raises(InputError, match=r"door\.avi: has no frame from 20 s to 22 s"):
        animate_span(video, 20, 22)
    with pytest.raises(InputError, match="span from 3 s to 2 s"):
        animate_span(video, 3, 2)
    with pytest.raises(InputError, match=r"gone\.mp4: does not exist"):
        cut_clip(str(tmp_path / "gone.mp4"), 0, 1)
    (tmp_path / "empty.avi").touch()
    with pytest.raises(InputError, match=r"empty\.avi: "):
        cut_clip(str(tmp_path / "empty.avi"), 0, 1)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "codec"), [("a.avi", "MJPG"), ("a.mp4", "mp4v"), ("a.mkv", "VP80")]
)
def test_ffmpeg_copies_the_original_packets(tmp_path, name, codec):
    blocks = [{3: i} for i in range(80)]
    path = str(write_video(tmp_path / name, blocks, fps=10, codec=codec))
    clip = cut_clip(path, 2, 5)
    assert clip.is_original and clip.suffix == os.path.splitext(name)[1]
    assert clip.content == cut_clip(path, 2, 5).content
    cut = tmp_path / f"cut{clip.suffix}"
    cut.write_bytes(clip.content)
    with closing(Video(str(cut))) as copied, closing(Video(path)) as original:
        assert copied.grab()
        first = copied.retrieve()
        frames = []
        while original.grab() and original.time <= 5:
            frames.append(original.retrieve())
        # the very pixels of a frame at or before the start of the span
        assert any(np.array_equal(first, frame) for frame in frames[:21])


@needs_ffmpeg
def test_a_playlist_with_the_name_of_a_video_is_not_followed(tmp_path):
    secret = write_video(tmp_path / "secret.ts", [{3: i} for i in range(30)], codec="MPG2")
    path = tmp_path / "a.mp4"
    path.write_text(f"#EXTM3U\n#EXTINF:3,\nfile://{secret}\n#EXT-X-ENDLIST\n")
    assert copy_span(str(path), 0, 2) is None


@needs_ffmpeg
def test_a_program_that_fails_leaves_the_animation(video, tmp_path, monkeypatch):
    fake = tmp_path / "bin" / "ffmpeg"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/bin:/usr/bin")
    assert cut_clip(video, 0, 1).suffix == ".webp"
