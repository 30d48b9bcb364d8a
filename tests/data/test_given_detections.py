"""Detections of other programs: which image or frame each name is."""

import numpy as np
import pytest

from clsa_search.data.given_detections import GivenBoxes, GivenDetections, hash_boxes, select_boxes
from clsa_search.errors import InputError


def boxes(*scores):
    return GivenBoxes(np.tile([0.0, 0, 10, 20], (len(scores), 1)), np.array(scores, dtype=float))


def assign(names, images=(), videos=(), **options):
    """Return {(path, frame): position of the name} and the unused names."""
    given = {name: boxes(i / 100) for i, name in enumerate(names)}
    files, unused = GivenDetections("det", given, **options).assign(images, videos)
    found = {
        (path, frame): round(100 * one.scores[0])
        for path, by_frame in files.items()
        for frame, one in by_frame.items()
    }
    return found, unused


def test_numbers_are_frames_of_the_only_video():
    found, unused = assign([1, 6], videos=["/m/door.avi"], counts_frames=True)
    assert found == {("/m/door.avi", 1): 0, ("/m/door.avi", 6): 1} and unused == []


def test_numbers_are_frames_of_a_folder():
    images = ["/m/img1/000002.jpg", "/m/img1/000001.jpg"]
    assert assign([1, 3], images, counts_frames=True) == ({(images[1], None): 0}, [3])
    images = ["/m/frame_000001.png", "/m/frame_000000.png"]
    assert assign([1], images, counts_frames=True) == ({(images[1], None): 0}, [])


def test_ids_are_numbers_in_the_names_of_images():
    images = ["/m/a/000139.jpg", "/m/b/7.png", "/m/c/x_9.png"]
    found, unused = assign([7, 139, 9], images)
    assert found == {(images[1], None): 0, (images[0], None): 1} and unused == [9]


def test_names_are_files_with_or_without_folders_and_suffix():
    images = ["/m/cam1/a.jpg", "/m/cam2/a.jpg", "/m/cam1/b.c.jpg"]
    found, _ = assign(["cam1/a", "cam2\\a.jpg", "b.c", "/m/none.jpg"], images)
    assert found == {(images[0], None): 0, (images[1], None): 1, (images[2], None): 2}


def test_names_with_numbers_are_frames_of_videos():
    videos = ["/m/door.avi", "/m/old/gate_2.mp4"]
    found, unused = assign(["door_5", "door.avi_6", "gate_2_1", "gate_2"], videos=videos)
    assert found == {(videos[0], 5): 0, (videos[0], 6): 1, (videos[1], 1): 2}
    assert unused == ["gate_2"]


@pytest.mark.parametrize(
    ("names", "images", "videos", "expected"),
    [
        (["a"], ["/m/1/a.jpg", "/m/2/a.jpg"], [], "'a' fits /m/1/a.jpg and /m/2/a.jpg; expected"),
        (["a", "a.jpg"], ["/m/a.jpg"], [], "'a' and 'a.jpg' are both /m/a.jpg; expected one"),
        (
            [1],
            [],
            ["/m/a.avi", "/m/b.avi"],
            "one video or one folder .* but 2 videos and 0 folders",
        ),
        ([1], ["/m/1.jpg"], ["/m/a.avi"], "but 1 video and 1 folder of images are given"),
        ([1], ["/m/1/1.jpg", "/m/2/1.jpg"], [], "but 0 videos and 2 folders of images are given"),
        ([8], ["/m/1.jpg"], [], "8 and 0 others fit none of the 1 image and 0 videos; expected"),
    ],
)
def test_names_that_do_not_tell_a_file_are_refused(names, images, videos, expected):
    with pytest.raises(InputError, match=expected):
        assign(names, images, videos, counts_frames=True)


def test_boxes_are_clipped_and_empty_ones_dropped():
    given = GivenBoxes(np.array([[-5.0, 2, 8, 90], [50, 0, 60, 9], [9.5, 0, 20, 9]]), np.ones(3))
    assert given.fit(10, 40).boxes.tolist() == [[0, 2, 8, 40]]


def test_boxes_are_chosen_by_score_and_hashed():
    chosen = select_boxes({1: boxes(0.4), 2: boxes(0.5, 0.3)}, 0.5)
    assert list(chosen) == [2] and chosen[2].scores.tolist() == [0.5]
    hashes = {hash_boxes(x) for x in ({}, {1: boxes(0.4)}, {2: boxes(0.4)}, {1: boxes(0.5)})}
    assert len(hashes) == 4 and hash_boxes({1: boxes(0.4)}) in hashes
