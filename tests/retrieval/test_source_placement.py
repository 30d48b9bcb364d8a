"""Camera and start of files: given, found, or in sequence."""

import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Placement
from clsa_search.retrieval.placement_options import PlacementOptions
from clsa_search.retrieval.source_placement import place_files
from tests.support.footage import write_video

DAY = 1777593600.0  # 2026-05-01 00:00 UTC


def place(*videos, images=(), **options):
    return place_files(images, list(map(str, videos)), PlacementOptions(**options))


def test_given_values_hold_for_all_files():
    placements, problems = place("/a/b.mp4", images=["/a/c.jpg"], camera="door", start_time=7)
    assert placements == {
        "/a/b.mp4": Placement("door", 7, "given"),
        "/a/c.jpg": Placement("door", None, None),
    }
    assert problems == []
    assert place("/a/b.mp4")[0] == {"/a/b.mp4": Placement(None, None, None)}


@pytest.mark.parametrize(
    ("rule", "camera"),
    [
        ("folder", "north"),
        ("parent:1", "north"),
        ("parent:2", "site 3"),
        ("name:^(cam[0-9]+)_", "cam12"),
        ("name:cam", "cam"),
        ("name:(x)|_(b)", "b"),
    ],
)
def test_cameras_are_found(rule, camera):
    placements, _ = place("/footage/site 3/north/cam12_b.mp4", camera_from=rule)
    assert placements["/footage/site 3/north/cam12_b.mp4"].camera == camera


def test_files_without_time_or_camera_are_named_and_the_rest_goes_on():
    options = {"time_from": "name:%Y%m%d", "zone": "UTC", "camera_from": "name:^(cam[0-9]+)_"}
    placements, problems = place(
        "/a/cam1_20260501.mp4", "/a/cam_20260501.mp4", "/a/cam2_x.mp4", **options
    )
    assert placements == {"/a/cam1_20260501.mp4": Placement("cam1", DAY, "name")}
    assert [path for path, _ in problems] == ["/a/cam_20260501.mp4", "/a/cam2_x.mp4"]
    assert "/a/cam_20260501.mp4: 'cam_20260501' does not match" in problems[0][1]
    assert "name: 'cam2_x' does not match '%Y%m%d'" in problems[1][1]
    _, ((_, reason),) = place("/b.mp4", camera_from="parent:2")
    assert reason.startswith("/b.mp4: has no folder 2 above it")


def test_clips_of_a_folder_follow_each_other(tmp_path):
    clips = [write_video(tmp_path / f"clip_{i}.avi", [{}] * 10 * i, fps=10) for i in (10, 9, 2)]
    other = write_video(tmp_path / "b" / "a.avi", [{}] * 10, fps=10)
    placements, problems = place(*clips, other, start_time=DAY, in_sequence=True)
    found = {path[len(str(tmp_path)) :]: one[1:] for path, one in placements.items()}
    assert found == {
        "/clip_2.avi": (DAY, "given"),
        "/clip_9.avi": (DAY + 2, "sequence"),
        "/clip_10.avi": (DAY + 11, "sequence"),
        "/b/a.avi": (DAY, "given"),
    }
    assert problems == []


def test_a_clip_with_its_own_time_begins_a_sequence(tmp_path):
    names = "a_20260501.avi", "b.avi", "c_20260502.avi", "d.avi"
    clips = [write_video(tmp_path / name, [{}] * 20, fps=10) for name in names]
    placements, _ = place(*clips, time_from="name:%Y%m%d", zone="UTC", in_sequence=True)
    assert [placements[str(clip)].start - DAY for clip in clips] == [0, 2, 86400, 86402]
    assert [placements[str(clip)].start_from for clip in clips] == ["name", "sequence"] * 2


def test_a_clip_after_one_without_length_has_no_time(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    clip = write_video(tmp_path / "b.avi", [{}] * 20, fps=10)
    placements, ((path, reason),) = place(
        tmp_path / "a.mp4", clip, start_time=DAY, in_sequence=True
    )
    assert list(placements) == [str(tmp_path / "a.mp4")]
    assert path == str(clip) and "a.mp4: has an unknown length" in reason


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"camera": "a", "camera_from": "folder"}, "camera-from: is given with camera"),
        ({"start_time": 0.0, "time_from": "exif"}, "time-from: is given with start-time"),
        ({"zone": "UTC"}, "timezone: is given without time-from"),
        ({"in_sequence": True}, "in-sequence: the first video has no time"),
        ({"camera_from": "parent:0"}, "'parent:0'; expected folder"),
        ({"camera_from": "name:("}, "expected a regular expression"),
        ({"camera_from": "file"}, "'file'; expected folder"),
        ({"time_from": "exif", "zone": "Mars"}, "timezone: 'Mars' is unknown"),
    ],
)
def test_wrong_options_are_named(options, reason):
    with pytest.raises(InputError) as error:
        PlacementOptions(**options)
    assert reason in str(error.value)
