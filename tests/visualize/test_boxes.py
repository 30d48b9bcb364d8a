"""Boxes, tags and numbers on an image."""

import numpy as np
from PIL import Image

from clsa_search.visualize import draw_boxes, draw_numbered_boxes, write_numbered_boxes
from tests.support.figure_cases import GRAY


def test_boxes_are_outlined_and_tagged_on_a_copy():
    before = GRAY.copy()
    boxes = np.array([[10.0, 40.0, 50.0, 100.0], [70.0, 0.0, 158.0, 119.0]])
    drawing = draw_boxes(GRAY, boxes, ["7", None], [(255, 0, 0), (0, 0, 255)])
    assert (before == GRAY).all() and drawing.shape == GRAY.shape
    for x, y, color in [(10, 70, (255, 0, 0)), (30, 100, (255, 0, 0)), (158, 60, (0, 0, 255))]:
        assert tuple(drawing[y, x]) == color
    assert tuple(drawing[70, 30]) == (128, 128, 128)
    # the tag lies on the upper edge, with letters of another color
    tag = drawing[28:39, 10:18].reshape(-1, 3)
    assert (tag == (255, 0, 0)).all(axis=1).any() and (tag == (255, 255, 255)).all(axis=1).any()


def test_a_label_keeps_its_color_and_a_tag_stays_inside():
    first = draw_boxes(GRAY, [[50, 0, 90, 60]], ["person 12"])
    second = draw_boxes(GRAY, [[0, 30, 20, 90], [50, 0, 90, 60]], ["person 5", "person 12"])
    assert (first[59:61, 50:90] == second[59:61, 50:90]).all()
    assert (first[60, 60] != second[90, 10]).any()
    # no room above: the tag lies below the upper edge
    assert len(np.unique(first[1:12, 52:60].reshape(-1, 3), axis=0)) > 1
    assert (draw_boxes(GRAY, np.zeros((0, 4))) == GRAY).all()


def test_boxes_are_numbered_in_an_enlarged_image(tmp_path):
    boxes = np.array([[20.0, 40.0, 50.0, 100.0], [90.0, 50.0, 120.0, 110.0]])
    drawing = draw_numbered_boxes(GRAY, boxes, np.array([0.6, 0.9]))
    assert drawing.shape == (720, 960, 3)  # six times as large
    # an outline and a filled tag over it, in a color of its own
    colors = [tuple(drawing[6 * 70, 6 * x + 1]) for x in (20, 90)]
    assert len({*colors, (128, 128, 128)}) == 3
    for (x0, y0, _, _), color in zip(boxes.astype(int) * 6, colors, strict=True):
        tag = drawing[y0 - 20 : y0 - 4, x0 + 1 : x0 + 15].reshape(-1, 3)
        assert (tag == color).all(axis=1).sum() > 50
        assert (tag.min(axis=1) == 255).sum() + (tag.max(axis=1) == 0).sum() > 20
    # a large image keeps its size
    large = np.full((600, 1000, 3), 128, np.uint8)
    assert draw_numbered_boxes(large, boxes, np.ones(2)).shape == large.shape
    assert (draw_numbered_boxes(GRAY, np.zeros((0, 4)), np.zeros(0)) == 128).all()
    write_numbered_boxes(GRAY, boxes, np.array([0.6, 0.9]), tmp_path / "new" / "people.png")
    assert (np.asarray(Image.open(tmp_path / "new" / "people.png")) == drawing).all()


def test_a_number_fits_into_any_image():
    """An image may be lower or narrower than a tag."""
    for shape in ((3, 1000, 3), (2000, 2, 3)):
        flat = np.full(shape, 128, np.uint8)
        numbered = draw_numbered_boxes(flat, np.array([[0, 0, shape[1], shape[0]]]), np.ones(1))
        assert numbered.shape == shape and (numbered != 128).any()
