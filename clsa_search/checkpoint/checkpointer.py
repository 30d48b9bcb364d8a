"""Checkpoints that are whole and of this model, or refused."""

import logging
import os
import re

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer

from clsa_search.atomic_io import remove_partial_files, replace_file
from clsa_search.checkpoint.conversion import BACKBONES
from clsa_search.checkpoint.resnet_reader import UNUSED
from clsa_search.checkpoint.safe_loading import read_checkpoint
from clsa_search.errors import InputError

OF_A_RUN = re.compile(r"model_(\d{7}|final)\.pth")
"""The names of a run's checkpoints; other weights may lie beside them."""

_CLASSIFIERS = "reid_criterion.classifiers."
_CONVERT = "tools/convert_weights.py makes a file that fills the backbones from a ResNet of others"
logger = logging.getLogger(__name__)


class PersonSearchCheckpointer(DetectionCheckpointer):
    """Saves whole files or none; says at once when a checkpoint is not this model's."""

    def save(self, name: str, **kwargs: object) -> None:
        """As fvcore's, but a process that is killed leaves the checkpoints as they were."""
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict()}
        data |= {key: value.state_dict() for key, value in self.checkpointables.items()}
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info("Saving checkpoint to %s", path)
        remove_partial_files(self.save_dir)
        with replace_file(path) as file:
            torch.save(data | kwargs, file)
        self.tag_last_checkpoint(os.path.basename(path))

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        with replace_file(os.path.join(self.save_dir, "last_checkpoint")) as file:
            file.write(last_filename_basename.encode())

    def has_checkpoint(self) -> bool:
        return bool(self.get_checkpoint_file())

    def get_checkpoint_file(self) -> str:
        """What a run is resumed from: the checkpoint that `last_checkpoint` names.

        Where that file is missing or names none that is whole, it is the whole one with the most
        iterations; "" where nothing was saved yet.

        Raises:
            InputError: checkpoints were saved, but none is whole.
        """
        named = super().get_checkpoint_file()
        if named and _iterations_done(named):
            return named
        files = self.get_all_checkpoint_files() if os.path.isdir(self.save_dir) else []
        files = [path for path in files if OF_A_RUN.fullmatch(os.path.basename(path))]
        if not named and not files:
            return ""
        newest = max(files, key=_iterations_done, default="")
        if not newest or not _iterations_done(newest):
            raise InputError(
                f"{self.save_dir}: no checkpoint of a training run is whole "
                f"(last_checkpoint names {os.path.basename(named) or 'none'}); "
                "start anew without --resume"
            )
        logger.warning(
            "%s: last_checkpoint names no whole checkpoint; %s is the newest that is",
            self.save_dir,
            os.path.basename(newest),
        )
        return newest

    def load_strictly(self, path: str, *, checkpointables: list[str] | None = None) -> None:
        """Load a checkpoint of exactly this model; classifiers may be left over.

        Args:
            path: of the checkpoint.
            checkpointables: what else to load from it; None for all that was given to the
                constructor, which is what resuming wants.

        Raises:
            InputError: the file is missing or is not a checkpoint, a parameter is missing, has
                another shape or is not the model's, or what else is loaded does not fit the config.
        """
        rest = self._load_readable(path)
        wrong = [
            f"{key} has shape {tuple(found)}, the config's model {tuple(wanted)}"
            for key, found, wanted in self.incompatible.incorrect_shapes
        ]
        wrong += [f"{key} is missing" for key in self.incompatible.missing_keys]
        wrong += [
            f"{key} is not in the config's model"
            for key in self.incompatible.unexpected_keys
            if not key.endswith(UNUSED)  # BN counts batches, FrozenBN does not
        ]
        if wrong:
            raise InputError(
                f"{path}: is of another model than the config describes: {wrong[0]}"
                + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else "")
            )
        # after the model, whose faults explain theirs
        for key in self.checkpointables if checkpointables is None else checkpointables:
            try:
                self.checkpointables[key].load_state_dict(rest[key])
            except (KeyError, ValueError, RuntimeError) as error:
                raise InputError(
                    f"{path}: its {key} is of another training than the config describes: {error}; "
                    "resume with that run's config, or start anew without --resume"
                ) from error

    def load_weights(self, path: str) -> None:
        """Load the tensors that fit the model, and warn of backbones that stay random.

        Raises:
            InputError: the file is missing or is not a checkpoint, or nothing in it fits.
        """
        self._load_readable(path)
        shapes = [key for key, *_ in self.incompatible.incorrect_shapes]
        if shapes:
            logger.warning(
                "%s: random at the start, because they have another shape there: %s",
                path,
                ", ".join(shapes),
            )
        unfilled = {*self.incompatible.missing_keys, *shapes}
        if unfilled.issuperset(name for name, _ in self.model.named_parameters()):
            raise InputError(f"{path}: fills no parameter of the config's model; {_CONVERT}")
        for backbone in BACKBONES:
            parameters = {
                name: value.numel()
                for name, value in self.model.named_parameters()
                if name.startswith(f"{backbone}.")
            }
            if random := [name for name in parameters if name in unfilled]:
                logger.warning(
                    "%s: %d of %d parameters of %s START AT RANDOM, the first those of %s; %s",
                    path,
                    sum(parameters[name] for name in random),
                    sum(parameters.values()),
                    backbone,
                    random[0],
                    _CONVERT,
                )

    def _load_readable(self, path: str) -> dict:
        """Load into the model what fits; returns what else the checkpoint holds."""
        if "://" not in path and not os.path.isfile(path):
            raise InputError(f"checkpoint {path!r} does not exist; name one with MODEL.WEIGHTS")
        try:
            return self.load(path, checkpointables=[])
        except InputError:
            raise
        except Exception as error:  # what a broken pickle or archive raises has no other base
            raise InputError(f"{path}: not a checkpoint that can be read: {error}") from error

    def _load_file(self, filename: str) -> dict:
        """As Detectron2's, but no code in the file is run."""
        loaded = read_checkpoint(filename)
        loaded = loaded if "model" in loaded else {"model": loaded}
        for name, value in loaded["model"].items():
            if not isinstance(value, torch.Tensor | np.ndarray):
                raise InputError(
                    f"{filename}: holds {name!r}, a {type(value).__name__}, where a model's "
                    f"tensors are expected; {_CONVERT}"
                )
        return loaded

    def _load_model(self, checkpoint: dict) -> object:
        if not any(key.startswith(_CLASSIFIERS) for key in self.model.state_dict()):
            # not wanted for inference, and no reason for a warning
            kept = checkpoint["model"].items()
            kept = {key: value for key, value in kept if not key.startswith(_CLASSIFIERS)}
            checkpoint = {**checkpoint, "model": kept}
        self.incompatible = super()._load_model(checkpoint)
        return self.incompatible


def _iterations_done(path: str) -> int:
    """How many iterations a checkpoint holds; 0 where it is not whole or of no training run."""
    try:
        # mapped, so that only the description of the tensors is read
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return checkpoint["trainer"]["iteration"] + 1
    except Exception:  # as above
        return 0
