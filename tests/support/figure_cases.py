"""Images, and a small evaluated dataset, for the tests of figures."""

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from clsa_search.data import load_custom_json, save_custom_json
from clsa_search.evaluation.predictions import Predictions
from clsa_search.evaluation.protocol import full_gallery_protocol
from clsa_search.structures import ImageDetections, Queries, Ragged

GRAY = np.full((120, 160, 3), 128, dtype=np.uint8)


def color_share(path, color):
    """Return the share of the pixels of an image file that have exactly a color."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return float((pixels == np.round(np.array(to_rgb(color)) * 255)).all(axis=-1).mean())


def make_searched_dataset(folder):
    """Return records, protocol and predictions of persons 0, 1, 2 in each of four images.

    Each has a query in the first image. The gallery embeddings confuse persons 1 and 2.
    """
    Image.fromarray(GRAY).save(folder / "gray.png")
    boxes = [[10, 20, 20, 50], [60, 20, 20, 50], [110, 20, 20, 50]]
    people = [{"bbox": box, "person_id": i} for i, box in enumerate(boxes)]
    save_custom_json(
        folder / "gallery.json",
        images=[
            {"id": i, "file_name": "gray.png", "width": 160, "height": 120, "cam_id": 1}
            for i in range(4)
        ],
        annotations=[{"image_id": i} | person for i in range(4) for person in people],
        queries=[{"image_id": 0} | person for person in people],
    )
    records = load_custom_json(folder / "gallery.json")
    corners = np.array([person["bbox"] for person in records[0]["annotations"]], dtype=np.float32)
    one_hot = np.eye(3, dtype=np.float32)
    detections = ImageDetections(corners, np.ones(3, dtype=np.float32), one_hot[[0, 2, 1]])
    image_ids = np.array([str(record["image_id"]) for record in records])
    predictions = Predictions(
        image_ids=image_ids,
        detections=Ragged.from_lengths(ImageDetections.concatenate([detections] * 4), [3] * 4),
        queries=Queries(np.arange(3), corners, one_hot, image_ids[[0, 0, 0]]),
        meta={},
    )
    return records, full_gallery_protocol(records), predictions
