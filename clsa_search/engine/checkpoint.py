"""Checkpoints that are whole and of this model, or refused."""

import os

from detectron2.checkpoint import DetectionCheckpointer

from clsa_search.errors import InputError


class PersonSearchCheckpointer(DetectionCheckpointer):
    """Says at once when a checkpoint is not this model's, instead of going on half loaded."""

    def load_strictly(self, path: str, *, checkpointables: list[str] | None = None) -> None:
        """Load a checkpoint that must fill the whole model; classifiers may be left over.

        Args:
            path: of the checkpoint.
            checkpointables: what else to load from it; None for all that was given to the
                constructor, which is what resuming wants.

        Raises:
            InputError: the file is missing or is not a checkpoint, a parameter is missing or has
                another shape.
        """
        if "://" not in path and not os.path.isfile(path):
            raise InputError(f"checkpoint {path!r} does not exist; name one with MODEL.WEIGHTS")
        try:
            self.load(path, checkpointables)
        except Exception as error:  # what a broken pickle or archive raises has no other base
            raise InputError(f"{path}: not a checkpoint that can be read: {error}") from error
        wrong = [
            f"{key} has shape {tuple(found)}, the config's model {tuple(wanted)}"
            for key, found, wanted in self.incompatible.incorrect_shapes
        ]
        wrong += [f"{key} is missing" for key in self.incompatible.missing_keys]
        if wrong:
            raise InputError(
                f"{path}: is of another model than the config describes: {wrong[0]}"
                + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else "")
            )

    def _load_model(self, checkpoint: dict) -> object:
        self.incompatible = super()._load_model(checkpoint)
        return self.incompatible
