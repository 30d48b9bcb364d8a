"""Pairs that are certainly two people."""

import numpy as np

from clsa_search.sightings.impostors import pair_concurrent, pair_people_of_frames

NAN = float("nan")


def test_people_of_one_frame():
    frames = np.array([0, 0, 0, 0, 1, 1])
    tracklets = np.array([7, 3, 5, 9, 3, 7])
    boxes = np.array(
        [
            [0, 0, 10, 20],
            [100, 0, 110, 20],
            [101, 0, 111, 20],  # overlaps the box before: maybe one person
            [200, 0, 210, 20],  # not confident
            [0, 0, 10, 20],
            [100, 0, 110, 20],
        ],
        float,
    )
    scores = np.array([0.9, 0.9, 0.9, 0.5, 0.9, 0.9])
    pairs = pair_people_of_frames(frames, tracklets, boxes, scores, limit=99)
    assert sorted(map(tuple, pairs.tolist())) == [(3, 7), (5, 7)]


def test_boxes_of_one_tracklet_are_no_pair():
    boxes = np.array([[0, 0, 10, 20], [100, 0, 110, 20]], float)
    pairs = pair_people_of_frames(np.zeros(2), np.array([4, 4]), boxes, np.ones(2), limit=9)
    assert pairs.shape == (0, 2)


def test_nobody_dominates():
    count = 60
    boxes = np.arange(count)[:, None] * 100.0 + np.array([0, 0, 10, 20])
    ids = np.arange(count)
    pairs = pair_people_of_frames(np.zeros(count), ids, boxes, np.ones(count), limit=10_000)
    assert np.bincount(pairs.ravel(), minlength=count).max() <= 16
    assert len(pair_people_of_frames(np.zeros(count), ids, boxes, np.ones(count), limit=7)) == 7


def test_without_boxes_there_are_no_pairs():
    empty = np.zeros(0)
    assert len(pair_people_of_frames(empty, empty, np.zeros((0, 4)), empty, limit=9)) == 0


def test_concurrent_tracklets_on_cameras_apart():
    first = np.array([0.0, 5.0, 8.0, 100.0, NAN, 6.0])
    last = np.array([10.0, 9.0, 12.0, 110.0, NAN, 7.0])
    cameras = ["north", "south", "north", "south", "south", "yard"]
    pairs = pair_concurrent(first, last, cameras, [("north", "south")], limit=99)
    assert sorted(map(tuple, pairs.tolist())) == [(0, 1), (1, 2)]
    assert len(pair_concurrent(first, last, cameras, [], limit=99)) == 0
    every = pair_concurrent(first, last, cameras, [("north", "south", "yard")], limit=99)
    assert sorted(map(tuple, every.tolist())) == [(0, 1), (0, 5), (1, 2), (1, 5)]


def test_no_tracklets_are_concurrent():
    assert pair_concurrent(np.zeros(0), np.zeros(0), [], [("a", "b")], limit=9).shape == (0, 2)
