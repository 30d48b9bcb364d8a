"""Videos of every container: joined, piped, trimmed, cut and damaged files."""

import numpy as np
import pytest

from clsa_search.errors import InputError
from clsa_search.retrieval.video import count_samples, locate_frame, sample_video
from tests.support.sampled_videos import check_rereading, write_turning
from tests.support.video_files import (
    cut_file,
    delay_matroska,
    hide_frames,
    join_videos,
    pipe_avi,
    vary_rate,
)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        *(("a.mp4", "mp4v"), ("a.mkv", "mp4v"), ("a.avi", "MJPG"), ("a.webm", "VP80")),
        *(("a.ts", "MPG2"), ("a.mpg", "MPG1")),  # MPEG-2 has B-frames
    ],
)
def test_frames_of_every_container_are_read_again_as_sampled(tmp_path, name, codec):
    path = write_turning(tmp_path / name, codec=codec)
    frames = check_rereading(path, range(150), [i / 25 for i in range(150)])
    assert {frame.image.shape for frame in frames} == {(72, 96, 3)}


@pytest.mark.parametrize(
    ("name", "codec"), [("a.ts", "MPG2"), ("a.mpg", "MPG1"), ("a.mkv", "VP80")]
)
@pytest.mark.parametrize("counts", [(150, 120), (60, 200)])
def test_two_joined_recordings_count_on(tmp_path, name, codec, counts):
    parts = [
        write_turning(tmp_path / f"{start}_{name}", frames, codec, start)
        for start, frames in enumerate(counts)
    ]
    alone = [frame.image for part in parts for frame in sample_video(str(part), 1000)]
    path = join_videos(tmp_path / name, *parts)
    total = sum(counts)
    frames = check_rereading(path, range(total), [i / 25 for i in range(total)])
    for frame, image in zip(frames, alone, strict=True):
        assert np.abs(frame.image.astype(int) - image).mean() < 2


def test_sampling_joined_recordings_goes_on_by_time(tmp_path):
    parts = [write_turning(tmp_path / f"{i}.ts", 50, "MPG2") for i in range(3)]
    path = str(join_videos(tmp_path / "joined.ts", *parts))
    assert [frame.number for frame in sample_video(path, 1)] == list(range(0, 150, 25))
    assert [frame.number for frame in sample_video(path, 1, start=60)] == [75, 100, 125]
    assert locate_frame(path, 125) == pytest.approx(5)


def test_a_varying_rate_is_sampled_by_time_and_is_whole(tmp_path):
    path = write_turning(tmp_path / "a.mp4", 120)
    vary_rate(path, [(20, 8), (100, 1)])  # 6.4 s of 3 frames per second, 4 s of 25
    frames = check_rereading(path)
    stamps = [i * 8 / 25 for i in range(20)] + [6.4 + i / 25 for i in range(100)]
    assert all(min(abs(frame.time - stamp) for stamp in stamps) < 1e-3 for frame in frames)
    seconds = [frame.time for frame in sample_video(str(path), 1)]
    assert [int(time) for time in seconds] == list(range(11))


@pytest.mark.parametrize("change", [pipe_avi, lambda path: None])
def test_videos_from_a_pipe_are_whole(tmp_path, change):
    path = write_turning(tmp_path / "a.avi", codec="MJPG")
    change(path)
    check_rereading(path, range(150))
    assert count_samples(str(path), 1) in (0, 6)


def test_a_header_longer_than_the_video_is_no_damage(tmp_path):
    trimmed = write_turning(tmp_path / "trimmed.mp4")
    hide_frames(trimmed, seconds=3)
    frames = check_rereading(trimmed)
    assert frames[-1].time == pytest.approx(74 / 25, abs=0.1)
    longer = write_turning(tmp_path / "sound.mkv")
    delay_matroska(longer, seconds=4)
    check_rereading(longer, range(150))


@pytest.mark.parametrize(
    ("name", "codec"), [("a.avi", "MJPG"), ("a.mkv", "mp4v"), ("a.webm", "VP80"), ("a.wmv", "WMV2")]
)
def test_cut_videos_are_reported_in_every_container(tmp_path, name, codec):
    path = write_turning(tmp_path / name, codec=codec)
    list(sample_video(str(path), 1))
    cut_file(path, 0.6)
    with pytest.raises(InputError, match=rf"{name}: ends after \d+ frames .*cut short or damaged"):
        list(sample_video(str(path), 1))


def test_an_mp4_with_an_empty_part_is_reported(tmp_path):
    path = write_turning(tmp_path / "a.mp4")
    content = path.read_bytes()
    start = content.index(b"mdat") + 4
    half = (start + content.index(b"moov")) // 2
    stop = content.index(b"moov") - 4
    path.write_bytes(content[:half] + bytes(stop - half) + content[stop:])
    with pytest.raises(InputError, match="cut short or damaged"):
        list(sample_video(str(path), 1))
