"""The page in Chromium: screens, sizes, and the mouse."""

import os
import shutil
import urllib.parse

import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")
pytest.importorskip("playwright", reason="playwright, which drives the browser, is not installed")

from playwright import sync_api

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
WIDE = {"viewport": {"width": 1440, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True}


class Screen:
    """The page in a tab, with the hosts and faults of its browser."""

    def __init__(self, browser, url, **options):
        self.hosts, self.faults = set(), []
        self.context = browser.new_context(**options)
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(20_000)
        self.tab.on("request", lambda one: self.hosts.add(urllib.parse.urlsplit(one.url).netloc))
        self.tab.on("pageerror", lambda error: self.faults.append(str(error)))
        self.tab.on("console", self._note)
        self.tab.goto(url)

    def _note(self, message):
        if message.type == "error" and "422" not in message.text:
            self.faults.append(message.text)

    def expect(self, selector, text):
        """Wait until an element contains a text."""
        sync_api.expect(self.tab.locator(selector)).to_contain_text(text, timeout=20_000)

    def count(self, selector, number):
        """Wait for a number of elements."""
        sync_api.expect(self.tab.locator(selector)).to_have_count(number, timeout=20_000)

    def upload(self, content, name="person.png"):
        files = [{"name": name, "mimeType": "image/png", "buffer": content}]
        self.tab.set_input_files("#file", files)

    @property
    def cameras(self):
        return self.tab.locator(".tile .facts b").all_inner_texts()


def drag(screen, left, top, right, bottom):
    """Draw a box on the query's image, in shares of its sides."""
    bounds = screen.tab.locator("#stage").bounding_box()
    x, y, width, height = (bounds[name] for name in ("x", "y", "width", "height"))
    screen.tab.mouse.move(x + left * width, y + top * height)
    screen.tab.mouse.down()
    screen.tab.mouse.move(x + right * width, y + bottom * height, steps=5)
    screen.tab.mouse.up()


def wait_for(screen, condition):
    """Wait until the server has what the page sent."""
    for _ in range(200):
        if condition():
            return
        screen.tab.wait_for_timeout(100)
    raise AssertionError("the page sent nothing")
