"""Where a detection came from: the model, boxes of another program, or somebody who drew it."""

import re
from typing import Literal, get_args

Origin = Literal["model", "file", "hand"]
ORIGINS: tuple[Origin, ...] = get_args(Origin)
_GIVEN_BOXES = re.compile(r", boxes [0-9a-f]{16}\Z")  # of a source's fingerprint


def tell_origin(fingerprint: object) -> Origin:
    """Return the origin of all detections of a source that was indexed without origins.

    Args:
        fingerprint: its `IndexProgress.fingerprint`; damaged ones can have any type.
    """
    is_given = isinstance(fingerprint, str) and _GIVEN_BOXES.search(fingerprint)
    return "file" if is_given else "model"
