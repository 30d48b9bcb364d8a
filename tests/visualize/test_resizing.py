"""Large images and boxes are drawn in little memory, and boxes keep their places."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from clsa_search.gallery import Match, StoredDetection
from clsa_search.retrieval.report import write_report
from clsa_search.retrieval.result_images import draw_results
from clsa_search.retrieval.results import QueryResult
from clsa_search.structures import PersonImage
from clsa_search.visualize import (
    MatchImage,
    Ranking,
    draw_boxes,
    draw_numbered_boxes,
    draw_ranking_overview,
    draw_ranking_sheet,
    trim_to_tile,
)
from clsa_search.visualize.boxes import MAX_LENGTH
from clsa_search.visualize.resizing import shrink
from clsa_search.visualize.tiles import MAX_TILE_SIZE
from tests.support.figure_cases import GRAY

SIDE = 6000
MEMORY = 40 << 20  # bytes; the image alone has 108 MB


@pytest.fixture(scope="module")
def large():
    """An image with a red square from (3000, 1500) to (4500, 3000)."""
    image = np.full((SIDE, SIDE, 3), 128, np.uint8)
    image[1500:3000, 3000:4500] = 255, 0, 0
    return image


@pytest.fixture
def little_memory():
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MEMORY


def test_boxes_shrink_with_their_image(large):
    boxes = np.array([[3000, 1500, 4500, 3000], [0, 0, SIDE, SIDE]])
    image, boxes = shrink(large, boxes, (300, 90))
    assert image.shape == (90, 90, 3) and boxes[1].tolist() == [0, 0, 90, 90]
    x0, y0, x1, y1 = boxes[0]
    assert (x0, y0, x1, y1) == pytest.approx((45, 22.5, 67.5, 45))
    red = image[..., 0] > 190
    assert red[24:44, 46:66].all() and red.sum() == pytest.approx(22.5**2, rel=0.1)
    assert shrink(GRAY, boxes, (160, 120))[0] is GRAY
    assert shrink(np.zeros((2, 4000, 3), np.uint8), boxes, (40, 40))[0].shape == (1, 40, 3)


def test_a_tile_of_a_large_image_is_small(large, little_memory):
    tile = trim_to_tile(PersonImage(large, np.array([0, 0, SIDE, SIDE])))
    assert all(np.array(tile.image.shape[1::-1]) <= MAX_TILE_SIZE)
    square = trim_to_tile(PersonImage(large, np.array([3000, 1500, 4500, 3000])))
    x0, y0, x1, y1 = square.box.round().astype(int)
    red = square.image[..., 0] > 190
    assert red[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1].all() and not red[: y0 - 1].any()


def test_sheets_of_large_images_need_little_memory(large, little_memory, tmp_path):
    whole = np.array([0.0, 0.0, SIDE, SIDE])
    ranking = Ranking(
        PersonImage(large, whole), [MatchImage(large, whole)] * 3, "query", "3 matches"
    )
    draw_ranking_sheet(ranking, tmp_path / "sheet.png")
    draw_ranking_overview([ranking], tmp_path / "overview.png")


def test_results_in_a_large_image_are_drawn(large, tmp_path):
    Image.fromarray(large).save(tmp_path / "large.bmp")
    detection = StoredDetection(
        1,
        str(tmp_path / "large.bmp"),
        frame=None,
        time=None,
        camera=None,
        box=(0.0, 0.0, 1e9, 1e9),
        score=0.9,
        embedding=np.float32([0.6, 0.8]),
    )
    query = PersonImage(large, np.array([0, 0, 1e9, 1e9]))
    result = QueryResult("query", [query], [Match(detection, 0.5)])
    draw_results([result], tmp_path)
    write_report([result], tmp_path / "report.html", address="street.db")


def test_boxes_far_outside_are_cut(little_memory):
    inside = np.array([[10.0, 20.0, 40.0, 60.0]])
    for far in ([-1e9, -1e9, 1e9, 1e9], [-1e12, 40, 80, 1e12], [1e9, 1e9, 1e12, 1e12]):
        boxes = np.vstack([inside, [far]])
        drawing = draw_boxes(GRAY, boxes, ["a", "b"])
        numbered = draw_numbered_boxes(GRAY, boxes, np.array([0.9, 0.8]))
        assert (drawing != GRAY).any() and (numbered != 128).any()
        tile = trim_to_tile(PersonImage(GRAY, np.array(far)))
        assert tile.image.size and (tile.box <= 160).all()


def test_a_large_image_with_numbers_is_shrunk(large):
    numbered = draw_numbered_boxes(large, np.array([[3000, 1500, 4500, 3000]]), np.ones(1))
    assert numbered.shape == (MAX_LENGTH, MAX_LENGTH, 3)
    assert (numbered[1500, 2500] == (255, 0, 0)).all() and (numbered[1500, 1500] == 128).all()
