"""The page in Chromium: drawn boxes and videos."""

import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")
pytest.importorskip("playwright", reason="playwright, which drives the browser, is not installed")

from playwright import sync_api

from clsa_search.desk import serving
from clsa_search.gallery import open_store
from clsa_search.retrieval.gallery_search import GallerySearch
from clsa_search.retrieval.indexer import Indexer, IndexOptions
from tests.support.desk_cases import GREEN, RED, encode, make_gallery
from tests.support.desk_screens import WIDE, Screen, drag
from tests.support.footage import BlockPredictor, draw_blocks, write_video


def test_a_box_is_drawn_with_the_mouse_and_with_keys(open_screen):
    screen = open_screen(**WIDE)
    screen.upload(encode(draw_blocks({RED: 10, GREEN: 60})))
    screen.count(".person", 2)
    image = screen.tab.locator("#stage").bounding_box()
    scale = image["width"] / 96
    mouse = screen.tab.mouse
    mouse.move(image["x"] + 56 * scale, image["y"] + 15 * scale)
    mouse.down()
    mouse.move(image["x"] + 70 * scale, image["y"] + 50 * scale)
    mouse.move(image["x"] + 78 * scale, image["y"] + 64 * scale)
    mouse.up()
    screen.expect("#hint", "The person in your box")
    screen.expect("#answer", "The 5 most alike")
    assert screen.cameras[0] == "door"  # the only place of green
    screen.count("#views li", 1)

    screen.tab.get_by_role("button", name="Draw a box").click()
    for key in ["ArrowLeft"] * 20 + ["Enter"]:
        screen.tab.keyboard.press(key)
    screen.count("#views li", 1)
    screen.expect("#hint", "The person in your box")


def test_a_drawn_box_on_footage_is_added_to_the_gallery(browser, tmp_path):
    with make_gallery(tmp_path) as gallery, serving(gallery) as url:
        screen = Screen(browser, url, **WIDE)
        add = screen.tab.get_by_role("button", name="Add to the gallery")
        screen.upload(encode(draw_blocks({RED: 10, GREEN: 60})))
        screen.count(".person", 2)
        drag(screen, 0.6, 0.2, 0.8, 0.9)
        screen.expect("#hint", "The person in your box is searched.")
        sync_api.expect(add).to_be_hidden()  # an upload is no footage
        screen.tab.locator("#browse summary").click()
        screen.tab.locator("#sources button", has_text="yard.png").click()
        screen.expect("#query-name", "yard.png")
        sync_api.expect(add).to_be_hidden()
        drag(screen, 0.4, 0.27, 0.57, 0.84)  # red, who is found already
        add.click()
        screen.expect("#notices", "of this frame")
        drag(screen, 0.7, 0.1, 0.95, 0.8)
        screen.count(".rubber", 1)
        add.click()
        screen.expect("#hint", "The person in your box is in the gallery now.")
        screen.expect("#about", "6 sightings in 3 files")
        sync_api.expect(add).to_be_hidden()
        (drawn,) = gallery.store.list_drawn(gallery.store.paths())
        assert drawn.box == pytest.approx((67.2, 7.2, 91.2, 57.6), abs=0.5)
        screen.tab.locator(f'.tile img[src$="detections/{drawn.detection_id}/crop.jpg"]').click()
        screen.expect(".player dl", "drawn by hand")
        assert not screen.faults
        screen.context.close()


def test_a_video_that_the_browser_does_not_play_is_an_animated_image(open_screen):
    screen = open_screen(**WIDE)
    screen.tab.click("#browse summary")
    screen.count("#sources img", 3)
    screen.tab.fill("#source-text", "street")
    screen.count("#sources img", 1)
    screen.tab.click("#sources button")
    screen.expect("#answer", "The 5 most alike")  # the only person is searched at once
    screen.expect("#query-name", "street.avi · 0:00:01.0")
    screen.tab.locator(".tile", has_text="street").locator(".play").first.click()
    clip = screen.tab.locator(".player img")
    sync_api.expect(clip).to_be_visible()
    assert clip.get_attribute("src").endswith("clip.webp")
    screen.tab.click("#next-frame")
    screen.expect("#query-name", "street.avi · 0:00:01.5")


def test_a_video_plays_at_the_moment_with_the_box_over_it(browser, tmp_path):
    predictor = BlockPredictor()
    path = write_video(tmp_path / "gate.webm", [{}] * 10 + [{RED: 48}] * 20, codec="VP80")
    store = open_store(tmp_path / "g.db", weights=predictor.weights_sha256, create=True)
    indexer = Indexer(predictor, store, IndexOptions(camera="gate", rate=5))
    indexer.plan([path])
    indexer.run()
    with GallerySearch(store, predictor) as gallery, serving(gallery) as url:
        screen = Screen(browser, url, **WIDE)
        screen.tab.locator(".tile .play").click()
        screen.expect("#answer", "The 1 most alike of 1 sighting")
        screen.tab.locator(".tile .play").click()
        overlay = screen.tab.locator(".player .overlay")
        sync_api.expect(overlay).to_be_visible(timeout=20_000)
        frame, box = screen.tab.locator(".player video").bounding_box(), overlay.bounding_box()
        assert (box["x"] - frame["x"]) / frame["width"] == pytest.approx(48 / 96, abs=0.03)
        assert box["height"] / frame["height"] == pytest.approx(40 / 72, abs=0.05)
        # the box is shown half a second before the person comes in
        screen.tab.get_by_role("button", name="Next moment").click()
        screen.tab.get_by_role("button", name="Somebody else in this frame").click()
        screen.count(".person", 1)
        assert not screen.faults
        screen.context.close()


def test_the_player_links_to_its_person(open_screen):
    screen = open_screen(**WIDE)
    screen.tab.locator(".tile", has_text="yard").locator(".play").click()
    screen.expect("#answer", "The 5 most alike")
    screen.tab.locator(".tile", has_text="yard").locator(".play").click()
    link = screen.tab.get_by_role("link", name="Link to this person")
    assert link.get_attribute("href") == "?tracklet=3"
