"""Selection of persons in a query image: by box, by number, all of them, or the only one."""

import math

import numpy as np
import pytest

from clsa_search.errors import InputError
from clsa_search.retrieval import GallerySearch
from clsa_search.retrieval.query_selection import AmbiguousQuery, select_persons
from tests.support.footage import BlockPredictor, draw_blocks

ONE, TWO = draw_blocks({0: 10}), draw_blocks({0: 10, 1: 50})


@pytest.fixture
def gallery():
    return GallerySearch(None, BlockPredictor())


def test_the_only_detection_is_selected(gallery):
    (person,) = select_persons(gallery, ONE, "folder/a.jpg")
    assert person.caption == "a.jpg, person 1"
    assert person.box.tolist() == [10, 20, 24, 60]
    assert person.image is ONE


def test_several_detections_need_a_choice(gallery):
    with pytest.raises(AmbiguousQuery, match="a.jpg: 2 detections; expected a number") as error:
        select_persons(gallery, TWO, "a.jpg")
    assert len(error.value.detections) == 2
    (second,) = select_persons(gallery, TWO, "a.jpg", person=2)
    assert second.box[0] == 50
    every = select_persons(gallery, TWO, "a.jpg", person="all")
    assert [person.caption for person in every] == ["a.jpg, person 1", "a.jpg, person 2"]
    with pytest.raises(InputError, match="a.jpg: person 3; expected a number from 1 to 2"):
        select_persons(gallery, TWO, "a.jpg", person=3)


def test_a_box_selects_without_detection(gallery):
    (person,) = select_persons(gallery, TWO, "a.jpg", box=(1, 2, 30, 40))
    assert (person.box.tolist(), person.caption) == ([1, 2, 30, 40], "a.jpg")
    assert gallery.predictor.num_images == 0
    with pytest.raises(InputError, match="a.jpg: box: .*expected x1 < x2"):
        select_persons(gallery, TWO, "a.jpg", box=(200, 2, 300, 40))


def test_an_image_without_detections_is_refused(gallery):
    with pytest.raises(InputError, match="a.jpg: no detection with score 0.5 or more"):
        select_persons(gallery, np.full_like(ONE, 110), "a.jpg")


def test_a_box_is_cut_at_the_borders_of_its_image(gallery):
    (person,) = select_persons(gallery, TWO, "a.jpg", box=(-5, 10, 1e9, 1e9))
    height, width = TWO.shape[:2]
    assert person.box.tolist() == [0, 10, width, height]


@pytest.mark.parametrize(
    "box",
    [
        *((math.nan, 0, 5, 5), (0, 0, math.inf, 5), (-math.inf, 0, 5, 5), (5, 5, 5, 9)),
        *((9, 5, 5, 9), (0, 0, 10**400, 5), (None, 0, 5, 5), (0, 0, 5), ("a", 0, 5, 5)),
    ],
)
def test_boxes_that_are_none_are_refused(gallery, box):
    with pytest.raises(InputError, match="a.jpg: box: .*expected"):
        select_persons(gallery, TWO, "a.jpg", box=box)
