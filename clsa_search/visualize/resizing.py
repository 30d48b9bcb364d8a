"""Images shrunk to the size at which they are shown, together with their boxes."""

import numpy as np
from PIL import Image

_PIXELS_PER_PIXEL = 4  # along an axis, left for the filter: more cost memory and show nothing


def shrink(
    image: np.ndarray, boxes: np.ndarray, max_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return an image and its boxes, shrunk to fit into a size; smaller images are returned as is.

    Args:
        image: (H, W, 3) RGB uint8.
        boxes: (..., 4) XYXY in pixels of the image.
        max_size: width and height in pixels.

    Returns:
        (h, w, 3) RGB uint8 and (..., 4) float XYXY in its pixels.
    """
    boxes = np.asarray(boxes, dtype=float)
    height, width = image.shape[:2]
    scale = min(max_size[0] / width, max_size[1] / height)
    if scale >= 1:
        return image, boxes
    size = max(1, round(width * scale)), max(1, round(height * scale))
    step = max(1, int(1 / scale / _PIXELS_PER_PIXEL))
    thinned = Image.fromarray(image[::step, ::step])
    shrunk = np.asarray(thinned.resize(size, Image.Resampling.LANCZOS))
    return shrunk, boxes * np.tile(np.divide(size, (width, height)), 2)


def clip_boxes(boxes: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    """Return boxes (..., 4) XYXY as float, cut at the borders of an image.

    Args:
        boxes: (..., 4) XYXY in pixels of the image.
        image_shape: height, width, ...
    """
    height, width = image_shape[:2]
    return np.clip(np.asarray(boxes, dtype=float), 0, [width, height, width, height])
