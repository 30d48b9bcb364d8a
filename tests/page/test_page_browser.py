"""The page in a real browser, Chromium without a screen: from an upload to the next search."""

import os
import re
import shutil
import urllib.parse

import pytest

pytest.importorskip("gradio", reason="the page is built with Gradio, which is not installed")
pytest.importorskip("playwright", reason="playwright, which drives the browser, is not installed")

from playwright import sync_api

from clsa_search.page.server import serving
from tests.support.footage import draw_blocks
from tests.support.page_cases import BLUE, GREEN, RED, encode, find_free_port, make_gallery

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is neither on PATH nor named by $CHROMIUM"
)
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with make_gallery(tmp_path_factory.mktemp("page")) as gallery:
        with serving(gallery, port=find_free_port()) as page:
            yield page.local_url


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def wide(browser):
    return browser.new_context(viewport={"width": 1300, "height": 900})


class Screen:
    """The page in a tab, with the hosts and faults of its browser."""

    def __init__(self, context, url):
        self.hosts, self.faults = set(), []
        self.tab = context.new_page()
        self.tab.set_default_timeout(20_000)
        self.tab.on("request", lambda one: self.hosts.add(urllib.parse.urlsplit(one.url).netloc))
        self.tab.on("pageerror", lambda error: self.faults.append(str(error)))
        self.tab.on("response", lambda one: one.ok or self.faults.append(f"{one.status} {one.url}"))
        self.tab.goto(url)
        self.expect("#headline", "9 detections in 3 files")

    def expect(self, selector, text):
        """Wait until a component contains a text."""
        sync_api.expect(self.tab.locator(selector)).to_contain_text(text, timeout=20_000)

    def count(self, selector, number):
        """Wait for a number of elements."""
        sync_api.expect(self.tab.locator(selector)).to_have_count(number, timeout=20_000)

    def upload(self, content, name="person.png"):
        files = [{"name": name, "mimeType": "image/png", "buffer": content}]
        self.tab.set_input_files("#upload input[type=file]", files)

    def click_person(self, x, y):
        """Click a point of the image of 96 x 72."""
        image = self.tab.locator("#detections img")
        # before it is there, it has another size
        self.tab.wait_for_function(
            "() => document.querySelector('#detections img')?.naturalWidth > 0", timeout=20_000
        )
        box = image.bounding_box()
        scale = box["width"] / 96
        image.click(position={"x": x * scale, "y": y * scale})

    @property
    def matches(self):
        return self.tab.locator("#matches .caption-label").all_inner_texts()


@pytest.fixture
def screen(wide, url):
    screen = Screen(wide, url)
    yield screen
    assert screen.hosts == {urllib.parse.urlsplit(url).netloc}  # nothing from elsewhere
    assert not screen.faults
    screen.tab.close()


def test_from_an_upload_to_the_next_search(screen):
    screen.upload(encode(draw_blocks({GREEN: 10, RED: 60})))
    screen.count("#number input", 2)
    screen.click_person(67, 40)
    screen.expect("#result", "6 matches")
    screen.count("#matches img", 6)
    assert screen.matches[0].startswith("1 · 1.00")
    cameras = [text.split("\n")[1] for text in screen.matches]
    assert sorted(cameras[:4]) == ["door", "street", "street", "yard"]  # where red is

    screen.tab.locator("#matches button").nth(cameras.index("door")).click()
    screen.expect("#details", "door.png")
    sync_api.expect(screen.tab.locator("#frame img")).to_be_visible()
    screen.tab.click("#search_match")
    screen.expect("#result", "door · door")
    screen.count("#details", 0)

    screen.tab.click("#cameras input")
    screen.tab.get_by_role("option", name="yard").click()
    screen.expect("#result", "1 match,")
    assert [text.split("\n")[1:] for text in screen.matches] == [["yard", "yard.png"]]


def test_an_indexed_image_and_a_number(screen):
    screen.tab.get_by_role("tab", name="Gallery images").click()
    screen.count("#sources img", 3)
    screen.tab.fill("#source_filter textarea, #source_filter input", "street")
    screen.tab.press("#source_filter textarea, #source_filter input", "Enter")
    screen.count("#sources img", 1)
    screen.tab.click("#sources button")
    screen.expect("#result", "person 1 of street.avi · 0:00:01.0")  # the only person
    screen.tab.get_by_label("Jump to time").fill("0:00:02")
    screen.tab.get_by_label("Jump to time").press("Enter")
    screen.count("#number input", 2)
    screen.tab.locator("#number label").nth(1).click()
    screen.expect("#result", "person 2 of street.avi · 0:00:02.0")
    since = screen.tab.get_by_label("From", exact=True)
    sync_api.expect(since).to_have_attribute("placeholder", "h:mm:ss")
    screen.tab.get_by_label("To", exact=True).fill("never")
    screen.tab.get_by_label("To", exact=True).press("Enter")
    screen.expect(".toast-wrap", "time: 'never'; expected")


def test_a_bad_upload_is_reported_and_changes_nothing(screen):
    screen.upload(encode(draw_blocks({BLUE: 30})))  # alone, so that the search begins at once
    screen.expect("#result", "person 1 of person.png")
    screen.upload(b"not a picture at all", "broken.png")
    screen.expect(".toast-wrap", "broken.png: not readable as an image")
    screen.expect("#result", "person 1 of person.png")


def test_a_narrow_dark_screen_needs_no_scrolling_sideways(browser, url):
    narrow = browser.new_context(viewport={"width": 375, "height": 700}, color_scheme="dark")
    screen = Screen(narrow, url)
    screen.upload(encode(draw_blocks({RED: 30})))
    screen.count("#matches img", 6)
    screen.tab.locator("#matches button").nth(0).click()
    sync_api.expect(screen.tab.locator("#frame img")).to_be_visible()
    assert screen.tab.evaluate("document.documentElement.scrollWidth") <= 375
    ground = screen.tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", ground)[:3])) < 64
