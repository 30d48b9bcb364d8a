"""The part of an image around a box."""

import numpy as np
import pytest

from clsa_search.structures import PersonImage
from clsa_search.visualize.tiles import choose_window, trim_to_tile
from tests.support.figure_cases import GRAY


@pytest.mark.parametrize(
    "box",
    [
        (60, 30, 90, 100),  # inside
        (0, 0, 10, 30),  # in a corner
        (150, 100, 160, 120),
        (0, 0, 160, 120),  # the whole image
        (5, 50, 155, 60),  # wide
        (80, 60, 80.5, 60.5),  # less than a pixel
        (80, 60, 80, 60),  # nothing
        (160, 120, 160, 120),
    ],
)
def test_a_window_holds_its_box_and_stays_in_the_image(box):
    window = choose_window(np.array(box), GRAY.shape, 0.7)
    size = window[2:] - window[:2]
    assert size[0] / size[1] == pytest.approx(0.7)
    assert (window[:2] <= box[:2]).all() and (window[2:] >= box[2:]).all()
    for axis, length in enumerate((160, 120)):
        if size[axis] <= length:
            assert 0 <= window[axis] and window[axis + 2] <= length + 1e-9
        else:  # the image lies in the middle of the window
            assert window[axis] == pytest.approx(length - window[axis + 2])
    trimmed = trim_to_tile(PersonImage(GRAY, np.array(box)))
    assert trimmed.image.size
    again = choose_window(trimmed.box, trimmed.image.shape, 0.7)
    assert again[2:] - again[:2] == pytest.approx(size)
