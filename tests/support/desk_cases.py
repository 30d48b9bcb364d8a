"""A gallery of colored blocks for the tests of the desk, and a client of its application."""

import io
import socket

from PIL import Image
from starlette.testclient import TestClient

from clsa_search.desk import SearchDesk, build_app
from clsa_search.gallery import open_store
from clsa_search.retrieval.gallery_search import GallerySearch
from clsa_search.retrieval.indexer import Indexer, IndexOptions
from tests.support.footage import BlockPredictor, draw_blocks, write_image, write_video

RED, GREEN, BLUE = 0, 1, 2  # persons, indices into COLORS


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


def encode(image, image_format="PNG", **options):
    """Encode an array as the bytes of a file."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, image_format, **options)
    return content.getvalue()


def find_free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_client(gallery, folders=(), index_options=None, watch=None, **options):
    """Return a client of the gallery's application, without a server; use it as context."""
    desk = SearchDesk(gallery, [str(folder) for folder in folders], index_options, watch)
    app = build_app(desk, **{"hosts": ["testserver"], **options})
    return TestClient(app, raise_server_exceptions=False)


def post_image(client, content, kind="image/png"):
    return client.post("/api/v1/queries", content=content, headers={"content-type": kind})


def add_query(client, *people):
    """Upload an image of some people; return the answer."""
    blocks = {person: 10 + 40 * i for i, person in enumerate(people)}
    answer = post_image(client, encode(draw_blocks(blocks)))
    assert answer.status_code == 201, answer.text
    return answer.json()


def search(client, of, **fields):
    """Search images and frames, and return the answer."""
    answer = client.post("/api/v1/search", json={"of": of, "per": "image", **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def fault(answer, status=422):
    """Return the message of an error."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "field"}
    return error["message"]


def list_sources(client):
    """Return the ids of the sources by their names."""
    return {one["name"]: one["id"] for one in client.get("/api/v1/sources").json()["sources"]}
