"""A gallery that is served, and screens that show its page without a fault.

Imports of optional packages stand in the fixtures: test modules skip themselves without them.
"""

import urllib.parse

import pytest


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    from clsa_search.desk import serving
    from tests.support.desk_cases import make_gallery

    with make_gallery(tmp_path_factory.mktemp("desk")) as gallery, serving(gallery) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    from playwright import sync_api

    from tests.support.desk_screens import ARGUMENTS, CHROMIUM

    if CHROMIUM is None:
        pytest.skip("Chromium is neither on PATH nor named by $CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_screen(browser, url):
    from tests.support.desk_screens import Screen

    screens = []

    def open_screen(**options):
        screens.append(Screen(browser, url, **options))
        return screens[-1]

    yield open_screen
    for screen in screens:
        assert screen.hosts == {urllib.parse.urlsplit(url).netloc}  # nothing from elsewhere
        assert not screen.faults
        screen.context.close()
