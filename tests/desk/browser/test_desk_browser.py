"""The page in a real browser, Chromium without a screen: from an image to the next search."""

import os
import re

import httpx2
import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")
pytest.importorskip("playwright", reason="playwright, which drives the browser, is not installed")

from playwright import sync_api

from clsa_search.desk import serving
from tests.support.desk_cases import BLUE, GREEN, RED, encode, make_gallery
from tests.support.desk_screens import PHONE, WIDE, Screen
from tests.support.footage import draw_blocks, write_image


def test_from_an_upload_to_the_next_search(open_screen):
    screen = open_screen(**WIDE)
    screen.expect("#about", "5 sightings in 3 files")
    screen.upload(encode(draw_blocks({GREEN: 10, RED: 60})))
    screen.count(".person", 2)
    index = 0 if "62" in screen.tab.locator(".person").nth(0).get_attribute("style") else 1
    screen.tab.locator(".person").nth(index).click()
    screen.expect("#answer", "The 5 most alike of 5 sightings")
    assert sorted(screen.cameras[:3]) == ["door", "street", "yard"]  # where red is

    screen.tab.locator(".tile", has_text="door").locator(".play").first.click()
    sync_api.expect(screen.tab.locator(".player .overlay")).to_be_visible()
    screen.tab.locator(".tile", has_text="yard").locator(".yes").first.click()
    screen.expect("#marked", "1 sighting marked")
    screen.tab.get_by_role("button", name="Search with these").click()
    screen.count("#views li", 2)
    screen.tab.locator("#cameras label", has_text="street").click()
    screen.tab.locator("#cameras label", has_text="door").click()
    screen.expect("#answer", "The 1 most alike of 1 sighting")
    assert screen.cameras == ["yard"]


def test_faults_are_shown_and_change_nothing(open_screen):
    screen = open_screen(**WIDE)
    screen.upload(encode(draw_blocks({BLUE: 30})))  # alone, so that the search begins at once
    screen.expect("#answer", "The 5 most alike")
    screen.upload(b"not a picture at all", "broken.png")
    screen.expect("#notices", "image: not readable as an image")
    screen.expect("#answer", "The 5 most alike")
    screen.tab.fill("#until", "never")
    screen.tab.press("#until", "Enter")
    screen.expect("#answer-note", 'To: "never"; expected a time such as 0:00:0')
    screen.tab.fill("#until", "0:00:00")
    screen.tab.press("#until", "Enter")
    screen.expect("#groups", "No sighting is left by the filters.")
    screen.tab.get_by_role("button", name="Clear the filters").click()
    screen.expect("#answer", "The 5 most alike")


def test_the_keyboard_is_enough(open_screen):
    screen = open_screen(**WIDE)
    screen.upload(encode(draw_blocks({RED: 30})))
    screen.expect("#answer", "The 5 most alike")
    screen.count(".tile[data-key]", 5)
    screen.tab.locator(".tile .play").first.focus()
    for key in ("ArrowRight", "s", "Enter"):
        screen.tab.keyboard.press(key)
    screen.count(".tile.same", 1)
    screen.count(".player", 1)
    screen.tab.keyboard.press("Escape")
    screen.count(".player", 0)
    screen.tab.keyboard.press("x")
    screen.count(".tile.other", 1)


def test_a_narrow_dark_screen_needs_no_scrolling_sideways(open_screen):
    screen = open_screen(**PHONE)
    screen.upload(encode(draw_blocks({RED: 30})))
    screen.expect("#answer", "The 5 most alike")
    screen.count(".tile[data-key]", 5)
    screen.tab.locator(".tile .play").first.tap()
    screen.count(".player", 1)
    assert screen.tab.evaluate("document.documentElement.scrollWidth") <= 390
    ground = screen.tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", ground)[:3])) < 64


def test_a_search_starts_from_one_of_the_latest_sightings(open_screen):
    screen = open_screen(**WIDE)
    screen.count(".tile", 5)
    screen.tab.locator(".tile", has_text="yard").locator(".play").click()
    screen.expect("#answer", "The 5 most alike of 5 sightings")
    assert "yard" in screen.cameras[:3]
    screen.count("#views li", 1)


def test_an_address_opens_a_person(browser, url):
    sources = httpx2.get(f"{url}api/v1/sources").json()["sources"]
    street = next(one["id"] for one in sources if one["name"] == "street.avi")
    for link, best in (
        ("?detection=3", "yard"),
        ("?tracklet=3", "yard"),
        (f"?source={street}&t=2.5&box=0.6,0.25,0.82,0.9", "street"),
    ):
        screen = Screen(browser, f"{url}{link}", **WIDE)
        screen.expect("#answer", "The 5 most alike of 5 sightings")
        screen.count("#views li", 1)
        assert best in screen.cameras[:3]
        assert screen.tab.url == f"{url}{link}", "the address stays, to be kept or sent"
        assert not screen.faults
        screen.context.close()
    screen = Screen(browser, f"{url}?detection=99", **WIDE)
    screen.expect("#notices", "detection: there is no 99")
    screen.count(".tile", 5)
    screen.context.close()


def test_new_footage_is_indexed_from_the_page(browser, tmp_path):
    media = tmp_path / "media"
    with make_gallery(tmp_path) as gallery, serving(gallery, folders=[media]) as url:
        write_image(media / "new.png", {GREEN: 10})
        screen = Screen(browser, url, **WIDE)
        screen.expect("#about", "5 sightings in 3 files")
        screen.tab.click("#upkeep summary")
        screen.tab.get_by_role("button", name="Look for new footage").click()
        screen.expect("#job", "1 detection in 1 image added; 3 files as before, 0 left out")
        screen.expect("#about", "6 sightings in 4 files")
        screen.tab.get_by_role("button", name="Calibrate").click()
        screen.expect("#job", "not calibrated by 2 pairs of certain strangers")
        assert not screen.faults
        screen.context.close()


def test_everything_has_a_name_for_screen_readers(open_screen):
    screen = open_screen(**WIDE)
    screen.upload(encode(draw_blocks({RED: 10, GREEN: 60})))
    screen.count(".person", 2)
    screen.tab.locator(".person").first.click()
    screen.count(".tile[data-key]", 5)
    nameless = screen.tab.evaluate(
        """() => [...document.querySelectorAll('button, input, select, a')].filter((one) =>
          !(one.innerText?.trim() || one.getAttribute('aria-label') || one.labels?.length)
        ).map((one) => one.outerHTML)"""
    )
    assert nameless == []
    images = screen.tab.locator(".tile img").all()
    assert all(image.get_attribute("alt").startswith("Rank ") for image in images)
    assert screen.tab.locator("h1").count() == 1


def test_a_token_opens_the_page_once_and_is_not_left_in_the_address(browser, tmp_path):
    token_file = tmp_path / "token"
    with make_gallery(tmp_path) as gallery, serving(gallery, token_file=token_file) as url:
        token = token_file.read_text().strip()
        screen = Screen(browser, url, **WIDE)
        sync_api.expect(screen.tab.locator("#sign-in")).to_be_visible()
        screen.tab.fill("#token", "wrong")
        screen.tab.keyboard.press("Enter")
        screen.expect("#notices", "The token is wrong")
        screen.tab.goto(f"{url}#token={token}")
        screen.tab.reload()
        screen.expect("#about", "5 sightings in 3 files")
        assert screen.tab.url == url
        screen.context.close()


def test_names_of_files_and_cameras_are_no_markup(browser, tmp_path):
    name = '<img src=x onerror="document.title=1">'
    with make_gallery(tmp_path) as gallery:
        source = gallery.store.sources()[0]
        path = tmp_path / "media" / f"{name.replace('/', '')}.png"
        os.rename(source.path, path)
        gallery.store.relink(source.path, str(path), source.fingerprint)
        with serving(gallery) as url:
            screen = Screen(browser, url, **WIDE)
            screen.tab.click("#browse summary")
            screen.count("#sources img", 3)
            screen.tab.locator("#sources button", has_text="onerror").click()
            screen.expect("#query-name", "onerror")
            assert screen.tab.locator("img[src='x']").count() == 0
            assert screen.tab.title().startswith("Find a person")
            screen.context.close()
