"""Shards of an unfinished extraction, to resume an interrupted run.

A shard is a predictions file of some images, written atomically. Its meta holds a key computed from
all settings of the extraction; shards with another key are ignored.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from detectron2.utils import comm

from clsa_search.evaluation.predictions import ImagePredictions, Predictions
from clsa_search.evaluation.predictions_file import load_predictions, save_predictions

Images = dict[str, ImagePredictions]
"""Predictions by image id."""


class ShardFolder:
    """Folder of the shards of one extraction; each process writes its own and reads all at start.

    Args:
        folder: folder for shards only; :meth:`clear` removes it.
        settings: JSON value with everything that decides the predictions.
    """

    def __init__(self, folder: Path, settings: Any) -> None:
        self.folder = folder
        text = json.dumps(settings, sort_keys=True, default=str)
        self.key = hashlib.sha256(text.encode()).hexdigest()
        self.written = 0

    def write(self, images: Images) -> None:
        """Write a shard."""
        while (path := self._next_path()).exists():  # from an earlier run
            self.written += 1
        save_predictions(Predictions.from_images(images, {"key": self.key}), path)
        self.written += 1

    def read(self) -> Images:
        """Return images of all shards; each image goes to one process only."""
        found: Images = {}
        for path in sorted(self.folder.glob("*.npz")):
            shard = load_predictions(path)
            if shard.meta.get("key") == self.key:
                found |= shard.to_images()
        taken: set[str] = set().union(*comm.all_gather(set(found))[: comm.get_rank()])
        return {image_id: image for image_id, image in found.items() if image_id not in taken}

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _next_path(self) -> Path:
        return self.folder / f"rank{comm.get_rank()}_{self.written:05d}.npz"
