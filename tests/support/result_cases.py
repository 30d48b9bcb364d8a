"""Results of searches, and what a written page holds."""

from html.parser import HTMLParser

import numpy as np

from clsa_search.gallery import Match, StoredDetection
from clsa_search.retrieval.results import QueryResult
from clsa_search.visualize import PersonImage

IMAGE = np.full((120, 160, 3), 128, dtype=np.uint8)


BOX = (60.0, 30.0, 90.0, 100.0)


QUERY = PersonImage(IMAGE, np.array(BOX), "query.png")


def detection(detection_id, source, box=BOX, **fields):
    values = {"frame": None, "time": None, "camera": None, "score": 0.875} | fields
    return StoredDetection(
        detection_id, str(source), box=box, embedding=np.float32([0.6, 0.8]), **values
    )


def result(*detections, title="query", query_images=(QUERY,)):
    matches = [Match(one, 0.9 - i / 10) for i, one in enumerate(detections)]
    return QueryResult(title, query_images, matches)


class Page(HTMLParser):
    """An HTML page as elements (tag, attributes) and text."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]
