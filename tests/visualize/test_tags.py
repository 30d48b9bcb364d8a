"""Positions of tags around boxes."""

import numpy as np

from clsa_search.visualize.tags import place_tags


def test_tags_do_not_overlap_in_a_crowd():
    """No tags overlap, all lie inside, and those of the first boxes are nearest."""
    rng = np.random.default_rng(0)
    corners = rng.uniform((0, 200), (940, 480), (80, 2))
    boxes = np.hstack([corners, corners + (10, 20)])
    tags = place_tags(boxes, [(30, 24)] * 80, np.arange(80), (960, 720))
    assert (tags[:, :2] >= 0).all() and (tags[:, 2:] <= (960, 720)).all()
    low = np.maximum(tags[:, None, :2], tags[None, :, :2])
    high = np.minimum(tags[:, None, 2:], tags[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    assert (shared == np.diag([30 * 24] * 80)).all()
    distances = np.abs(tags.reshape(80, 2, 2).mean(axis=1) - corners).sum(axis=1)
    assert distances[:20].mean() < distances[-20:].mean()


def test_tags_avoid_boxes_if_there_is_room():
    above, below = [100.0, 100.0, 150.0, 200.0], [100.0, 202.0, 150.0, 300.0]
    tags = place_tags(np.array([above, below]), [(30, 24)] * 2, np.arange(2), (400, 400))
    for x0, y0, x1, y1 in tags:
        for box in (above, below):
            assert x1 <= box[0] or x0 >= box[2] or y1 <= box[1] or y0 >= box[3]
