"""Boxes, tags and numbers on a scene: in their places, and readable there."""

import numpy as np
from PIL import Image

from clsa_search.visualize import draw_boxes, draw_numbered_boxes, write_numbered_boxes
from clsa_search.visualize.tags import place_tags

GREY = np.full((120, 160, 3), 128, dtype=np.uint8)


def test_people_are_outlined_and_tagged_on_a_copy():
    before = GREY.copy()
    boxes = np.array([[10.0, 40.0, 50.0, 100.0], [70.0, 0.0, 158.0, 119.0]])
    picture = draw_boxes(GREY, boxes, ["7", None], [(255, 0, 0), (0, 0, 255)])
    assert (before == GREY).all() and picture.shape == GREY.shape
    for x, y, color in [(10, 70, (255, 0, 0)), (30, 100, (255, 0, 0)), (158, 60, (0, 0, 255))]:
        assert tuple(picture[y, x]) == color
    assert tuple(picture[70, 30]) == (128, 128, 128)
    # the tag stands on the upper edge, with letters of another color on it
    tag = picture[28:39, 10:18].reshape(-1, 3)
    assert (tag == (255, 0, 0)).all(axis=1).any() and (tag == (255, 255, 255)).all(axis=1).any()


def test_a_label_keeps_its_color_and_a_tag_stays_inside():
    first = draw_boxes(GREY, [[50, 0, 90, 60]], ["person 12"])
    second = draw_boxes(GREY, [[0, 30, 20, 90], [50, 0, 90, 60]], ["person 5", "person 12"])
    assert (first[59:61, 50:90] == second[59:61, 50:90]).all()
    assert (first[60, 60] != second[90, 10]).any()
    # no room above: the tag goes under the box's upper edge
    assert len(np.unique(first[1:12, 52:60].reshape(-1, 3), axis=0)) > 1
    assert (draw_boxes(GREY, np.zeros((0, 4))) == GREY).all()


def test_people_are_numbered_in_a_large_picture(tmp_path):
    boxes = np.array([[20.0, 40.0, 50.0, 100.0], [90.0, 50.0, 120.0, 110.0]])
    picture = draw_numbered_boxes(GREY, boxes, np.array([0.6, 0.9]))
    assert picture.shape == (720, 960, 3)  # six times as large
    # an outline and a filled tag over it, in a color of its own
    colors = [tuple(picture[6 * 70, 6 * x + 1]) for x in (20, 90)]
    assert len({*colors, (128, 128, 128)}) == 3
    for (x0, y0, _, _), color in zip(boxes.astype(int) * 6, colors, strict=True):
        tag = picture[y0 - 20 : y0 - 4, x0 + 1 : x0 + 15].reshape(-1, 3)
        assert (tag == color).all(axis=1).sum() > 50
        assert (tag.min(axis=1) == 255).sum() + (tag.max(axis=1) == 0).sum() > 20
    # a large picture keeps its size
    large = np.full((600, 1000, 3), 128, np.uint8)
    assert draw_numbered_boxes(large, boxes, np.ones(2)).shape == large.shape
    assert (draw_numbered_boxes(GREY, np.zeros((0, 4)), np.zeros(0)) == 128).all()
    write_numbered_boxes(GREY, boxes, np.array([0.6, 0.9]), tmp_path / "new" / "people.png")
    assert (np.asarray(Image.open(tmp_path / "new" / "people.png")) == picture).all()


def test_numbers_stay_apart_in_a_crowd():
    """No tag lies on another, all lie inside, and the surest people's are nearest."""
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


def test_a_number_hides_nobody_where_there_is_room():
    above, below = [100.0, 100.0, 150.0, 200.0], [100.0, 202.0, 150.0, 300.0]
    tags = place_tags(np.array([above, below]), [(30, 24)] * 2, np.arange(2), (400, 400))
    for x0, y0, x1, y1 in tags:
        for box in (above, below):
            assert x1 <= box[0] or x0 >= box[2] or y1 <= box[1] or y0 >= box[3]


def test_a_number_finds_a_place_in_any_picture():
    """Also where the picture is lower or narrower than a tag."""
    for shape in ((3, 1000, 3), (2000, 2, 3)):
        flat = np.full(shape, 128, np.uint8)
        drawn = draw_numbered_boxes(flat, np.array([[0, 0, shape[1], shape[0]]]), np.ones(1))
        assert drawn.shape == shape and (drawn != 128).any()
