"""A gallery of colored blocks for the tests of the page, and a client that speaks HTTP."""

import io
import json
import socket
import uuid

import httpx
from PIL import Image

from clsa_search.gallery import open_store
from clsa_search.retrieval.gallery_search import GallerySearch
from clsa_search.retrieval.indexer import Indexer, IndexOptions
from tests.support.footage import BlockPredictor, write_image, write_video

RED, GREEN, BLUE = 0, 1, 2  # persons, indices into COLORS
FIELDS = [[], "", "", "", 0, False, 6]  # of a search request


def make_gallery(folder, start_time=0.0):
    """Make a gallery: red and green at the door, red in the yard, blue and later red in the street.

    Args:
        folder: folder of the files.
        start_time: start time of the video of the street.
    """
    media = folder / "media"
    write_image(media / "door.png", {RED: 10, GREEN: 60})
    write_image(media / "yard.png", {RED: 40})
    write_video(media / "street.avi", [{}] * 10 + [{BLUE: 20}] * 10 + [{BLUE: 60, RED: 20}] * 10)
    predictor = BlockPredictor()
    store = open_store(folder / "gallery.db", weights=predictor.weights_sha256, create=True)
    for name, camera in (("door.png", "door"), ("yard.png", "yard"), ("street.avi", "street")):
        options = IndexOptions(camera=camera, rate=2, start_time=start_time)
        indexer = Indexer(predictor, store, options)
        indexer.plan([media / name])
        indexer.run()
    assert store.count() == 3 + 2 + 4
    return GallerySearch(store, predictor)


def choose_indexed(service):
    """Choose the red person in the yard."""
    return service.load_indexed(service.gallery.store.sources()[1].path).choose(1)


def encode(image, image_format="PNG", **options):
    """Encode an array as the bytes of a file."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, image_format, **options)
    return content.getvalue()


def find_free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class PageClient:
    """A session over HTTP, with the requests of a browser or with forbidden ones."""

    def __init__(self, url):
        self.http = httpx.Client(base_url=url, timeout=30)
        self.session = uuid.uuid4().hex
        config = self.http.get("/config").json()
        self.ids = {part["props"].get("elem_id"): part["id"] for part in config["components"]}
        self.listeners = config["dependencies"]
        welcome = next(one for one in self.listeners if one["targets"][0][1] == "load")
        self.ids["page"] = welcome["targets"][0][0]
        assert self.do("page", "load")[0]  # the first request of a browser

    def upload(self, content, name="image.png"):
        """Upload a file and return its path on the server."""
        answer = self.http.post("/gradio_api/upload", files={"files": (name, content)})
        return answer.raise_for_status().json()[0]

    def join(self, part, event, *data, select=None):
        """Start the listener of a component; `select` is the index of a clicked item."""
        target = [self.ids[part], event]
        listener = next(one for one in self.listeners if target in one["targets"])
        message = {
            # the session state stays on the server
            "data": [None, *data][: len(listener["inputs"])],
            "fn_index": listener["id"],
            "session_hash": self.session,
            "event_data": None if select is None else {"index": select, "value": None},
        }
        return self.http.post("/gradio_api/queue/join", json=message)

    def do(self, part, event, *data, select=None):
        """Use a component; return its success, output and warnings."""
        self.join(part, event, *data, select=select).raise_for_status()
        warnings = []
        params = {"session_hash": self.session}
        with self.http.stream("GET", "/gradio_api/queue/data", params=params) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data:")) if line else {}
                if message.get("msg") == "log":
                    warnings.append(message["log"])
                elif message.get("msg") == "process_completed":
                    return message["success"], message["output"], warnings
        raise AssertionError("the stream ended before the listener did")

    def load(self, content, name="image.png"):
        return self.do("upload", "input", as_file(self.upload(content, name), name))


def as_file(path, name="image.png", **fields):
    return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}, **fields}
