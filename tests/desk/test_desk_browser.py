"""The page in a real browser, Chromium without a screen: from an image to the next search."""

import os
import re
import shutil
import urllib.parse

import httpx2
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")
pytest.importorskip("playwright", reason="playwright, which drives the browser, is not installed")

from playwright import sync_api

from clsa_search.desk import serving
from clsa_search.gallery import open_store
from clsa_search.retrieval.gallery_calibration import calibrate_gallery
from clsa_search.retrieval.gallery_search import GallerySearch
from clsa_search.retrieval.indexer import Indexer, IndexOptions
from clsa_search.retrieval.verdict_store import UserVerdict, list_verdicts, say_verdicts
from tests.support.desk_cases import BLUE, GREEN, RED, encode, make_gallery
from tests.support.footage import BlockPredictor, draw_blocks, write_image, write_video
from tests.support.old_galleries import change
from tests.support.photographs import WIDTH, add_person, add_photographs, unit

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is neither on PATH nor named by $CHROMIUM"
)
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
WIDE = {"viewport": {"width": 1440, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with make_gallery(tmp_path_factory.mktemp("desk")) as gallery, serving(gallery) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


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


@pytest.fixture
def open_screen(browser, url):
    screens = []

    def open_screen(**options):
        screens.append(Screen(browser, url, **options))
        return screens[-1]

    yield open_screen
    for screen in screens:
        assert screen.hosts == {urllib.parse.urlsplit(url).netloc}  # nothing from elsewhere
        assert not screen.faults
        screen.context.close()


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


def drag(screen, left, top, right, bottom):
    """Draw a box on the query's image, in shares of its sides."""
    bounds = screen.tab.locator("#stage").bounding_box()
    x, y, width, height = (bounds[name] for name in ("x", "y", "width", "height"))
    screen.tab.mouse.move(x + left * width, y + top * height)
    screen.tab.mouse.down()
    screen.tab.mouse.move(x + right * width, y + bottom * height, steps=5)
    screen.tab.mouse.up()


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
    screen.count(".tile[data-key]", 5)
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
    screen.count(".tile[data-key]", 5)
    screen.context.close()


def test_the_player_links_to_its_person(open_screen):
    screen = open_screen(**WIDE)
    screen.tab.locator(".tile", has_text="yard").locator(".play").click()
    screen.expect("#answer", "The 5 most alike")
    screen.tab.locator(".tile", has_text="yard").locator(".play").click()
    link = screen.tab.get_by_role("link", name="Link to this person")
    assert link.get_attribute("href") == "?tracklet=3"


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


def test_marked_sightings_are_exported_watched_and_deleted(browser, tmp_path):
    with make_gallery(tmp_path) as gallery, serving(gallery) as url:
        screen = Screen(browser, url, **WIDE)
        screen.tab.locator(".tile", has_text="yard").locator(".play").click()
        screen.expect("#answer", "The 5 most alike")
        screen.tab.locator(".tile", has_text="yard").locator(".yes").click()
        with screen.tab.expect_download() as download:
            screen.tab.get_by_label("Export the marked").select_option("csv")
        table = download.value.path().read_text(encoding="utf-8-sig")
        assert len(table.splitlines()) == 2 and ",same" in table

        screen.tab.get_by_role("button", name="Watch …").click()
        screen.tab.get_by_label("Name", exact=True).fill("<b>Ann</b>")
        screen.tab.get_by_role("button", name="Watch", exact=True).click()
        screen.expect("#notices", "<b>Ann</b> is watched, with 1 view.")
        screen.tab.click("#watched summary")
        screen.expect("#people", "<b>Ann</b>: 1 view, 1 sighting")

        screen.tab.get_by_role("button", name="Delete …").click()
        screen.expect("dialog", "1 sighting, 1 detection in 1 file would be deleted")
        screen.tab.get_by_role("button", name="Cancel").click()
        assert gallery.store.count() == 9
        screen.tab.get_by_role("button", name="Delete …").click()
        screen.tab.get_by_role("button", name="Delete", exact=True).click()
        screen.expect("#notices", "1 sighting, 1 detection in 1 file deleted")
        screen.expect("#about", "4 sightings in 3 files")
        assert gallery.store.count() == 8 and not screen.faults
        screen.context.close()


def wait_for(screen, condition):
    """Wait until the server has what the page sent."""
    for _ in range(200):
        if condition():
            return
        screen.tab.wait_for_timeout(100)
    raise AssertionError("the page sent nothing")


def test_verdicts_are_stored_and_known_when_the_image_comes_again(browser, tmp_path):
    red, blue = encode(draw_blocks({RED: 30})), encode(draw_blocks({BLUE: 30}))
    with make_gallery(tmp_path) as gallery, serving(gallery) as url:

        def list_said():
            return [(one.query, one.verdict.said) for one in list_verdicts(gallery.store)]

        screen = Screen(browser, url, **WIDE)
        screen.upload(red)
        screen.expect("#answer", "The 5 most alike")
        yard = screen.tab.locator(".tile", has_text="yard")
        yard.locator(".yes").click()
        wait_for(screen, lambda: [said for _, said in list_said()] == ["same"])
        ((name, _),) = list_said()
        screen.upload(blue, "other.png")
        screen.count(".tile.same", 0)
        screen.upload(red, "again.png")
        screen.count(".tile.same", 1)
        yard.locator(".no").click()  # another mind: replaced, as of the same query
        wait_for(screen, lambda: list_said() == [(name, "other")])
        screen.count(".tile.other", 1)
        yard.locator(".no").click()
        wait_for(screen, lambda: not list_said())
        assert not screen.faults
        screen.context.close()


def test_somebody_else_is_taken_back_and_detections_are_no_sightings(browser, tmp_path):
    with make_gallery(tmp_path) as gallery, serving(gallery) as url:
        screen = Screen(browser, url, **WIDE)
        screen.upload(encode(draw_blocks({RED: 30})))
        screen.expect("#answer", "The 5 most alike")
        screen.tab.locator(".tile .no").first.click()
        screen.tab.get_by_role("button", name="Take back 1 ×").click()
        wait_for(screen, lambda: "Take back" not in screen.tab.inner_text("#answer-note"))
        screen.count(".tile.other", 0)
        screen.tab.locator("#filters summary").click()
        screen.tab.select_option("#per", "match")
        screen.expect("#answer", "The 9 most alike")
        screen.tab.locator(".tile .no").first.click()
        screen.count(".tile.other", 1)
        screen.tab.select_option("#per", "tracklet")
        screen.expect("#answer", "The 5 most alike")
        screen.count(".tile.other", 0)
        assert "Take back" not in screen.tab.inner_text("#answer-note")
        assert not screen.faults
        screen.context.close()


def test_the_probability_by_verdicts_is_shown(browser, tmp_path):
    rng = np.random.default_rng(0)
    with open_store(tmp_path / "street.db", weights="w", create=True) as store:
        add_photographs(store, 300, camera="north")
        (last, *_) = add_person(store, unit(np.eye(WIDTH)[0] - np.eye(WIDTH)[1]), 2, camera="north")
        calibrate_gallery(store)
        ids = [one.tracklet_id for one in store.tracklets()]
        for said, center, count in (("same", 6.0, 60), ("other", 2.0, 49)):
            scores = rng.normal(center, 1.0, count).tolist()
            words = [UserVerdict(*one) for one in zip(ids, [said] * count, scores, strict=False)]
            say_verdicts(store, f"query-of-{said}", words)
        with GallerySearch(store, BlockPredictor()) as gallery, serving(gallery) as url:
            screen = Screen(browser, f"{url}?tracklet={last}", **WIDE)
            screen.expect("#verdicts", "Your verdicts: 60 same, 49 other; 1 other more give a")
            say_verdicts(store, "query-of-one", [UserVerdict(ids[0], "other", 1.5)])
            screen.tab.reload()
            screen.expect("#verdicts", "Your verdicts: 60 same, 50 other.")
            screen.expect(".tile >> nth=0", "% by your 110 verdicts")
            screen.context.close()


def test_damaged_notes_are_named(browser, tmp_path):
    path = tmp_path / "street.db"
    with open_store(path, weights="w", create=True) as store:
        add_photographs(store, 2, camera="north")
        calibrate_gallery(store)
        say_verdicts(store, "query-of-same", [UserVerdict(1, "same", 6.0)])
        change(path, "UPDATE notes SET value = '{'")
        with GallerySearch(store, BlockPredictor()) as gallery, serving(gallery) as url:
            screen = Screen(browser, f"{url}?tracklet=1", **WIDE)
            screen.expect("#answer-note", f"Not calibrated: {path}: its calibration is damaged")
            screen.expect("#answer-note", "1 verdict is damaged and left out: `clsa-search repair")
            screen.count("#problems li", 2)
            screen.tab.click("#upkeep summary")
            screen.tab.get_by_role("button", name="Calibrate").click()
            screen.expect("#job", f"{path}: its calibration was damaged and is made anew")
            screen.count("#problems li", 1)
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
