"""Videos: sampling by time, rotation, reading single frames, unreadable files."""

import cv2
import numpy as np
import pytest

from clsa_search.errors import InputError
from clsa_search.retrieval.frame_reader import FrameReader, read_frame
from clsa_search.retrieval.video import count_samples, locate_frame, sample_video
from tests.support.footage import draw_blocks, write_image, write_video
from tests.support.sampled_videos import check_rereading, write_turning
from tests.support.video_files import stretch_pixels, turn_video

WALK = [{0: x} for x in range(0, 80, 2)]  # 40 frames


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return str(write_video(tmp_path_factory.mktemp("video") / "walk.avi", WALK))


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(1, [0, 10, 20, 30]), (2.5, range(0, 40, 4)), (10, range(40)), (50, range(40)), (0.2, [0])],
)
def test_videos_are_sampled_by_time(video, rate, expected):
    frames = list(sample_video(video, rate))
    assert [frame.number for frame in frames] == list(expected)
    assert [frame.time for frame in frames] == pytest.approx([i / 10 for i in expected])
    assert count_samples(video, rate) == pytest.approx(len(frames), abs=1)


def test_sampling_does_not_depend_on_the_start(video):
    whole = [frame.number for frame in sample_video(video, 3)]
    for start in (1, whole[3], whole[3] + 1, 39, 40):
        rest = [frame.number for frame in sample_video(video, 3, start)]
        assert rest == [number for number in whole if number >= start]


def test_frames_are_rgb_and_can_be_read_in_any_order(video):
    frames = list(sample_video(video, 10))
    for frame in (frames[0], frames[25]):
        assert np.abs(frame.image.astype(int) - draw_blocks(WALK[frame.number])).mean() < 4
    reader = FrameReader()
    for number in (7, 8, 30, 3, 39, 0):
        assert (reader.read(video, number) == frames[number].image).all()
    reader.close()
    assert (read_frame(video, 12) == frames[12].image).all()
    with pytest.raises(InputError, match="has no frame 40"):
        read_frame(video, 40)


def test_images_are_read_without_a_frame(tmp_path):
    path = write_image(tmp_path / "a.png", {1: 30})
    assert (read_frame(str(path), None) == draw_blocks({1: 30})).all()


def test_a_truncated_video_yields_its_frames_and_then_an_error(tmp_path):
    whole = write_video(tmp_path / "whole.avi", WALK * 3)
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    numbers = []
    with pytest.raises(
        InputError, match=r"cut.avi: ends after \d+ frames at .*; expected 12.0 s: "
    ):
        for frame in sample_video(str(cut), 10):
            numbers.append(frame.number)
    assert 40 < len(numbers) < 80
    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_files_of_other_content_are_refused(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a.mp4: not readable as a video"):
        list(sample_video(str(path), 1))
    assert count_samples(str(path), 1) == 0
    with pytest.raises(InputError, match="gone.avi: does not exist"):
        read_frame(str(tmp_path / "gone.avi"), 0)


class ChangedCapture:
    """A capture to be changed by subclasses."""

    open = cv2.VideoCapture

    def __init__(self, path):
        self.capture = self.open(path)

    def __getattr__(self, name):
        return getattr(self.capture, name)


class NoAutomaticRotation(ChangedCapture):
    """OpenCV 4.11: it says that it turns frames, and does not."""

    def get(self, key):
        return 1 if key == cv2.CAP_PROP_ORIENTATION_AUTO else self.capture.get(key)

    def set(self, key, value):
        return self.capture.set(key, 0 if key == cv2.CAP_PROP_ORIENTATION_AUTO else value)


class FallingCapture(ChangedCapture):
    """A damaged place: a decoder returns an old frame once."""

    def get(self, key):
        value = self.capture.get(key)
        return 400 if key == cv2.CAP_PROP_POS_MSEC and round(value) == 3600 else value


def test_one_old_frame_does_not_begin_another_recording(tmp_path, monkeypatch):
    path = write_turning(tmp_path / "a.mp4")
    monkeypatch.setattr(cv2, "VideoCapture", FallingCapture)
    frames = list(sample_video(str(path), 1000))
    assert [frame.number for frame in frames] == list(range(150))
    assert frames[-1].time == pytest.approx(149 / 25)


@pytest.mark.parametrize(
    ("quarter_turns", "pixel", "size"),
    [(0, (3, 2), (72, 144)), (1, (3, 2), (144, 72)), (2, (3, 4), (72, 72)), (3, (1, 1), (96, 72))],
)
def test_pixels_become_square_before_frames_are_turned(tmp_path, quarter_turns, pixel, size):
    path = write_turning(tmp_path / "phone.mp4")
    plain = [frame.image for frame in sample_video(str(path), 1000)]
    turn_video(path, quarter_turns)
    stretch_pixels(path, *pixel)
    frames = check_rereading(path, range(150))
    for frame, image in zip(frames, plain, strict=True):
        assert frame.image.shape == (*size, 3)
        wide = cv2.resize(image, (96 * pixel[0] // pixel[1], 72))
        expected = np.rot90(wide, -quarter_turns)
        assert np.abs(frame.image.astype(int) - expected).mean() < 1


@pytest.mark.parametrize("pixel", [(1, 100), (0, 1), (1 << 30, 1)])
def test_impossible_pixels_are_taken_as_square(tmp_path, pixel):
    path = write_turning(tmp_path / "a.mp4", 3)
    stretch_pixels(path, *pixel)
    assert {frame.image.shape for frame in sample_video(str(path), 1000)} == {(72, 96, 3)}


@pytest.mark.parametrize("capture", [cv2.VideoCapture, NoAutomaticRotation])
@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_frames_are_upright(tmp_path, monkeypatch, capture, quarter_turns):
    path = write_video(tmp_path / "phone.mp4", WALK, codec="mp4v")
    plain = [frame.image for frame in sample_video(str(path), 10)]
    turn_video(path, quarter_turns)
    monkeypatch.setattr(cv2, "VideoCapture", capture)
    frames = list(sample_video(str(path), 10))
    assert len(frames) == len(plain) == len(WALK)
    for frame, unrotated in zip(frames, plain, strict=True):
        assert (frame.image == np.rot90(unrotated, -quarter_turns)).all()
    for number in (30, 3, 39):
        assert (read_frame(str(path), number) == frames[number].image).all()


class FailingCapture(ChangedCapture):
    """A decoder that fails in OpenCV's own way."""

    def retrieve(self):
        raise cv2.error("out of memory")


def test_faults_of_the_decoder_name_the_file(video, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", FailingCapture)
    with pytest.raises(InputError, match="walk.avi: cannot be read: .*out of memory"):
        read_frame(video, 3)


class VariableCapture:
    """OpenCV's behavior for a phone's video: the frame rate varies, and seeks are inexact."""

    stamps = [i * 300 for i in range(20)] + [6000 + i * 100 for i in range(60)]  # milliseconds

    def __init__(self, path):
        self.at = -1

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return True

    def release(self):
        pass

    def grab(self):
        self.at += 1
        return self.at < len(self.stamps)

    def retrieve(self):
        return True, np.full((4, 4, 3), self.at, np.uint8)

    def get(self, key):
        rate = 1000 * len(self.stamps) / self.stamps[-1]
        known = {cv2.CAP_PROP_FPS: rate, cv2.CAP_PROP_FRAME_COUNT: len(self.stamps)}
        known |= {cv2.CAP_PROP_ORIENTATION_META: 0}
        known |= {cv2.CAP_PROP_SAR_NUM: 1, cv2.CAP_PROP_SAR_DEN: 1}
        return known.get(key, self.stamps[min(self.at, len(self.stamps) - 1)])

    def set(self, key, milliseconds):
        if key in (cv2.CAP_PROP_ORIENTATION_AUTO, cv2.CAP_PROP_FORMAT):
            return True
        assert key == cv2.CAP_PROP_POS_MSEC
        share = milliseconds / self.stamps[-1]
        self.at = min(int(share * len(self.stamps)) + 3, len(self.stamps) - 1)


@pytest.mark.parametrize("rate", [2, 5, 100])
def test_frames_of_a_varying_rate_can_be_read_again(tmp_path, monkeypatch, rate):
    path = tmp_path / "phone.mp4"
    path.touch()
    monkeypatch.setattr(cv2, "VideoCapture", VariableCapture)
    frames = list(sample_video(str(path), rate))
    numbers = [frame.number for frame in frames]
    assert numbers == sorted(set(numbers)) and len(numbers) >= min(20, 6 * rate)
    shown = [int(frame.image[0, 0, 0]) for frame in frames]
    assert [frame.time for frame in frames] == [VariableCapture.stamps[i] / 1000 for i in shown]
    reader = FrameReader()
    for position in np.random.default_rng(0).permutation(len(frames)):
        again = reader.read(str(path), frames[position].number)
        assert (again == frames[position].image).all()
    for frame in frames:
        assert locate_frame(str(path), frame.number) == pytest.approx(frame.time, abs=0.1)


def test_frames_without_time_stamps_are_counted(tmp_path, monkeypatch):
    path = tmp_path / "raw.avi"
    path.touch()
    monkeypatch.setattr(cv2, "VideoCapture", VariableCapture)
    get = VariableCapture.get
    monkeypatch.setattr(
        VariableCapture, "get", lambda c, key: 0 if key == cv2.CAP_PROP_POS_MSEC else get(c, key)
    )
    frames = list(sample_video(str(path), 100))
    assert [frame.number for frame in frames] == list(range(80))
    reader = FrameReader()
    for number in (70, 3, 79, 0):
        assert reader.read(str(path), number)[0, 0, 0] == number
