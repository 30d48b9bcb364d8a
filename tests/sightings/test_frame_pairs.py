"""Pairs of boxes of one frame: against a loop over all of them."""

import numpy as np
import pytest

from clsa_search.sightings.frame_pairs import (
    compute_areas,
    compute_common,
    compute_iou,
    iterate_frame_pairs,
)


@pytest.mark.parametrize("seed", range(3))
def test_every_pair_of_a_frame_comes_once(seed):
    frames = np.sort(np.random.default_rng(seed).integers(-1, 9, 40))
    blocks = list(iterate_frame_pairs(frames))
    found = [pair for rows, others in blocks for pair in zip(rows, others, strict=True)]
    expected = [
        (i, j)
        for i in range(40)
        for j in range(i + 1, 40)
        if frames[i] == frames[j] and frames[i] >= 0
    ]
    assert sorted(found) == expected
    for rows, others in blocks:
        assert len(set(rows)) == len(rows) and len(set(others)) == len(others)


@pytest.mark.parametrize("frames", [[], [3], [-1, -1, -1], [0, 1, 2]])
def test_single_boxes_and_images_have_no_pairs(frames):
    assert list(iterate_frame_pairs(np.array(frames, int))) == []


def test_overlaps_by_hand():
    boxes = np.array([[0, 0, 4, 2], [0, 0, 4, 2], [0, 0, 4, 2], [1, 1, 1, 1]], float)
    others = np.array([[2, 1, 6, 3], [5, 0, 9, 2], [0, 0, 4, 2], [1, 1, 1, 1]], float)
    assert compute_areas(others).tolist() == [8, 8, 8, 0]
    assert compute_common(boxes, others).tolist() == [2, 0, 8, 0]
    assert compute_iou(boxes, others) == pytest.approx([2 / 14, 0, 1, 0])
