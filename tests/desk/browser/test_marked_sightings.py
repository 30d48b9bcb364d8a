"""The page in Chromium: verdicts, marked sightings, and what they lead to."""

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")
pytest.importorskip("playwright", reason="playwright, which drives the browser, is not installed")


from clsa_search.desk import serving
from clsa_search.gallery import open_store
from clsa_search.retrieval.gallery_calibration import calibrate_gallery
from clsa_search.retrieval.gallery_search import GallerySearch
from clsa_search.retrieval.verdict_store import UserVerdict, list_verdicts, say_verdicts
from tests.support.desk_cases import BLUE, RED, encode, make_gallery
from tests.support.desk_screens import WIDE, Screen, wait_for
from tests.support.footage import BlockPredictor, draw_blocks
from tests.support.old_galleries import change
from tests.support.photographs import WIDTH, add_person, add_photographs, unit


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
