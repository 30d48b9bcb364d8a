"""Measure the desk over a large gallery: python -m benchmarks.desk.measure_desk FOLDER.

Makes a gallery of random sightings in the folder, starts a desk over it in a process of its own,
and prints medians in milliseconds: of the first requests after a start, of each request afterwards,
and with --chromium FILE of the first view of the page. Footage is missing: crops are faults.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import Request, urlopen

from benchmarks.desk.large_gallery import WEIGHTS, open_large_gallery

_CAMERA = "cameras=camera%203"
_ROUTES = {
    "gallery": "gallery",
    "timeline": "timeline",
    "100 sightings": "tracklets",
    "100 sightings of a camera": f"tracklets?{_CAMERA}",
    "1000 sightings": "tracklets?limit=1000",
    "1000 sightings of a camera": f"tracklets?limit=1000&{_CAMERA}",
    "last 24 sightings": "tracklets?limit=24&offset={last}",
    "50 files": "sources",
}


class _NoModel:
    """Predictor without a model; nothing is detected here."""

    weights_sha256, min_score, device = WEIGHTS, 0.5, "cpu"


def main(argv: Sequence[str] | None = None) -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sightings", type=int, default=20_000)
    parser.add_argument("--length", type=int, default=10, help="detections of a sighting")
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--chromium", help="program of the browser")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.serve:
        return _serve(args.serve)
    args.folder.mkdir(parents=True, exist_ok=True)
    path = args.folder / f"{args.sightings}_{args.length}_{args.files}_{args.width}.db"
    open_large_gallery(path, args.sightings, args.length, args.files, args.width)
    copy = args.folder / "copy.db"
    shutil.copy(path, copy)
    rows = measure(copy, args.repeat, args.chromium)
    for name, seconds in rows.items():
        print(f"{name}: {1000 * median(seconds):.0f} ms ({len(seconds)})", flush=True)
    copy.unlink()


def measure(
    path: Path, repeat: int, chromium: str | None = None, pause: float = 3.0
) -> dict[str, list[float]]:
    """Return seconds by name.

    Args:
        path: file of the gallery; sightings are deleted from it.
        repeat: number of starts.
        chromium: program of a browser; None measures no view.
        pause: seconds after the first requests, until the desk has loaded the embeddings.
    """
    rows: dict[str, list[float]] = {}

    def note(name: str, call: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        answer = call()
        rows.setdefault(name, []).append(time.perf_counter() - begin)
        return answer

    for _ in range(repeat):
        with _desk(path) as url:
            note("first load after a start", lambda url=url: _load_page(url))
            time.sleep(pause)
            note("second load", lambda url=url: _load_page(url))
    if chromium:
        for _ in range(repeat):
            with _desk(path) as url:
                for name in ("first", "second"):
                    for what, seconds in _view_page(url, chromium).items():
                        rows.setdefault(f"{name} view: {what}", []).append(seconds)
    with _desk(path) as url:
        total = call(url, "gallery")["tracklets"]
        listed = call(url, f"tracklets?limit=1000&offset={total // 4}")["tracklets"]
        some, last = [one["tracklet"] for one in listed], total - 24
        search = {"of": [{"tracklet": some[0]}]}
        call(url, "search", search)
        for number in range(3 * repeat):
            for name, route in _ROUTES.items():
                note(name, lambda route=route: call(url, route.format(last=last)))
            note("search", lambda: call(url, "search", search))
            note(
                "search, one camera",
                lambda: call(url, "search", search | {"cameras": ["camera 3"]}),
            )
            one = {"tracklets": [some[number + 1]]}
            plan = note("deletion, counted", lambda one=one: call(url, "deletions", one))
            real = one | {"dry_run": False, "confirm": plan["detections"]}
            note("deletion of a sighting", lambda real=real: call(url, "deletions", real))
            note("search after a deletion", lambda: call(url, "search", search))
    return rows


def call(url: str, path: str, body: Any = None) -> Any:
    """Call the API of a desk."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(
        f"{url}api/v1/{path}", data, {"content-type": "application/json"} if data else {}
    )
    with urlopen(request) as answer:
        return json.loads(answer.read())


def _load_page(url: str) -> None:
    """Fetch what the page fetches until it shows the latest sightings, without their crops."""
    with ThreadPoolExecutor(4) as pool:
        for paths in ([""], ["static/app.js", "static/style.css"]):
            list(pool.map(lambda path: urlopen(f"{url}{path}").read(), paths))
        last = call(url, "gallery")["tracklets"] - 24
        list(
            pool.map(
                lambda path: call(url, path), [f"tracklets?limit=24&offset={last}", "timeline"]
            )
        )


def _view_page(url: str, chromium: str) -> dict[str, float]:
    """Return when a browser paints first, knows the gallery, and shows the latest sightings."""
    from playwright import sync_api

    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        tab = browser.new_page(viewport={"width": 1440, "height": 900})
        tab.goto(url, wait_until="commit")
        seconds = {}
        for name, condition in (
            ("gallery described", "document.querySelector('#about')?.textContent.includes(' in ')"),
            ("sightings shown", "document.querySelector('#groups .tile')"),
        ):
            tab.wait_for_function(f"() => ({condition})", polling=20)
            seconds[name] = tab.evaluate("performance.now()") / 1000
        paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
        tab.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length")
        seconds["first paint"] = tab.evaluate(paint) / 1000
        browser.close()
    return seconds


@contextmanager
def _desk(path: Path) -> Iterator[str]:
    """Start a desk in a process of its own; the value is its address."""
    words = [sys.executable, "-m", "benchmarks.desk.measure_desk", str(path.parent), "--serve"]
    process = subprocess.Popen([*words, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(60)


def _serve(path: Path) -> None:
    from clsa_search.desk import serve
    from clsa_search.gallery import open_store
    from clsa_search.retrieval.gallery_search import GallerySearch

    with open_store(path, weights=WEIGHTS) as store:
        gallery = GallerySearch(store, _NoModel())  # type: ignore[arg-type]
        serve(gallery, port=0, on_ready=lambda url: print(url, flush=True))


if __name__ == "__main__":
    main()
