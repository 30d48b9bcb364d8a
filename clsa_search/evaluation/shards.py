"""What an extraction has done so far, on disk, so that it resumes where it was interrupted.

A shard is a predictions file of some images, written whole or not at all. Its meta holds a key that
says what made it; shards of another key are not read.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.utils import comm

from clsa_search.evaluation.predictions import ImagePredictions, Predictions
from clsa_search.evaluation.predictions_file import load_predictions, save_predictions

Images = dict[str, ImagePredictions]


class ShardFolder:
    """The shards of one extraction; every process writes its own, and reads all when it starts."""

    def __init__(self, folder: Path, made_by: Any) -> None:
        """
        Args:
            folder: of its own; it goes away with :meth:`clear`.
            made_by: whatever decides what the model says of an image, for JSON.
        """
        self.folder = folder
        text = json.dumps(made_by, sort_keys=True, default=str)
        self.key = hashlib.sha256(text.encode()).hexdigest()
        self.written = 0

    def write(self, kinds: Mapping[str, Images]) -> None:
        """One file a kind; the last of them says that all of them are there."""
        while (stem := f"rank{comm.get_rank()}_{self.written:05d}") and any(
            self.folder.glob(f"{stem}.*")
        ):
            self.written += 1  # of an earlier run
        for kind, images in kinds.items():
            predictions = Predictions.from_images(images, {"key": self.key})
            save_predictions(predictions, self.folder / f"{stem}.{kind}.npz")
        self.written += 1

    def read(self, kinds: list[str]) -> dict[str, Images]:
        """What all processes wrote, and no other process keeps: each image is read by one."""
        found: dict[str, Images] = {kind: {} for kind in kinds}
        for last in sorted(self.folder.glob(f"*.{kinds[-1]}.npz")):
            stem = last.name.removesuffix(f".{kinds[-1]}.npz")
            files = [load_predictions(self.folder / f"{stem}.{kind}.npz") for kind in kinds]
            if all(file.meta.get("key") == self.key for file in files):
                for kind, file in zip(kinds, files, strict=True):
                    found[kind] |= file.to_images()
        taken = set().union(*comm.all_gather(set(found[kinds[-1]]))[: comm.get_rank()])
        return {
            kind: {key: value for key, value in images.items() if key not in taken}
            for kind, images in found.items()
        }

    def clear(self) -> None:
        """Remove the folder: the extraction is done."""
        shutil.rmtree(self.folder, ignore_errors=True)
