"""Save complete checkpoints, and load only complete checkpoints of the same model."""

import logging
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode

from clsa_search.atomic_io import remove_partial_files, replace_file
from clsa_search.checkpoint.backbone_checks import BACKBONE_KEYS
from clsa_search.checkpoint.public_weights import UNUSED_SUFFIXES
from clsa_search.checkpoint.safe_loading import check_finite, read_checkpoint
from clsa_search.checkpoint.search_model import check_values
from clsa_search.errors import InputError

RUN_CHECKPOINT = re.compile(r"model_(\d{7}|final)\.pth")
"""File names of the checkpoints of a training run."""

_CRITERION = "reid_criterion."
_CONVERT = "clsa-convert-weights converts a backbone of another project"
logger = logging.getLogger(__name__)


class PersonSearchCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with atomic writes and strict loading."""

    cfg: CfgNode | None = None
    """Config to compare the detectors of other projects with; see `check_values`."""

    weights_to_save: Callable[[], AbstractContextManager] = nullcontext
    """Context in which the model holds the weights to save, such as their average."""

    def save(self, name: str, **kwargs: object) -> None:
        """Save a checkpoint as fvcore does; a killed process leaves the earlier ones intact."""
        if not self.save_dir or not self.save_to_disk:
            return
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info("Saving checkpoint to %s", path)
        remove_partial_files(self.save_dir)
        with self.weights_to_save(), replace_file(path) as file:
            data = {"model": self.model.state_dict()}
            data |= {key: value.state_dict() for key, value in self.checkpointables.items()}
            torch.save(data | kwargs, file)
        self.tag_last_checkpoint(os.path.basename(path))

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Write the name of the last checkpoint, atomically."""
        with replace_file(os.path.join(self.save_dir, "last_checkpoint")) as file:
            file.write(last_filename_basename.encode())

    def has_checkpoint(self) -> bool:
        """Return whether a run can be resumed; see `get_checkpoint_file`."""
        return bool(self.get_checkpoint_file())

    def get_checkpoint_file(self) -> str:
        """Return the checkpoint to resume from, or "" if none was saved.

        It is the one in the file `last_checkpoint`. If that is missing or incomplete, it is the
        complete checkpoint with the most iterations.

        Raises:
            InputError: checkpoints were saved, but all are incomplete.
        """
        named = super().get_checkpoint_file()
        if named and _count_iterations(named):
            return named
        files = self.get_all_checkpoint_files() if os.path.isdir(self.save_dir) else []
        files = [path for path in files if RUN_CHECKPOINT.fullmatch(os.path.basename(path))]
        if not named and not files:
            return ""
        newest = max(files, key=_count_iterations, default="")
        if not newest or not _count_iterations(newest):
            raise InputError(
                f"{self.save_dir}: all checkpoints of the training run are incomplete "
                f"(last_checkpoint names {os.path.basename(named) or 'none'}); "
                "start again without --resume"
            )
        logger.warning(
            "%s: last_checkpoint names no complete checkpoint; the newest complete one is %s",
            self.save_dir,
            os.path.basename(newest),
        )
        return newest

    def load_strictly(self, path: str, *, checkpointables: list[str] | None = None) -> None:
        """Load a checkpoint of exactly this model.

        A model without identity classifiers ignores those in the file.

        Args:
            path: path of the checkpoint.
            checkpointables: names of the other objects to load, such as the optimizer; None for all
                objects of the constructor, as resuming needs.

        Raises:
            InputError: the file is missing or not a checkpoint, its parameters are not those of the
                model, or another object does not fit the config.
        """
        rest = self._load_readable(path)
        wrong = [
            f"{key} has shape {tuple(found)}, but {tuple(wanted)} in the config's model"
            for key, found, wanted in self.incompatible.incorrect_shapes
        ]
        wrong += [f"{key} is missing" for key in self.incompatible.missing_keys]
        wrong += [
            f"{key} is not in the config's model"
            for key in self.incompatible.unexpected_keys
            if not key.endswith(UNUSED_SUFFIXES)  # BN counts batches, FrozenBN does not
        ]
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise InputError(f"{path}: not a checkpoint of the config's model: {wrong[0]}{more}")
        # after the model, because a wrong model explains other errors
        for key in self.checkpointables if checkpointables is None else checkpointables:
            try:
                self.checkpointables[key].load_state_dict(rest[key])
            except (KeyError, ValueError, RuntimeError) as error:
                raise InputError(
                    f"{path}: its {key} is of another training than the config's: {error}; "
                    "resume with the config of that run, or start again without --resume"
                ) from error

    def load_weights(self, path: str) -> None:
        """Load the tensors that fit the model, and warn of random parameters in backbones.

        Raises:
            InputError: the file is missing or not a checkpoint, or no tensor fits.
        """
        self._load_readable(path)
        shapes = [key for key, *_ in self.incompatible.incorrect_shapes]
        if shapes:
            logger.warning(
                "%s: these parameters start at random, because they have another shape there: %s",
                path,
                ", ".join(shapes),
            )
        unfilled = {*self.incompatible.missing_keys, *shapes}
        if unfilled.issuperset(name for name, _ in self.model.named_parameters()):
            raise InputError(f"{path}: fills no parameter of the config's model; {_CONVERT}")
        for backbone in BACKBONE_KEYS:
            self._warn_of_random_parameters(path, backbone, unfilled)

    def _warn_of_random_parameters(self, path: str, backbone: str, unfilled: set[str]) -> None:
        sizes = {
            name: value.numel()
            for name, value in self.model.named_parameters()
            if name.startswith(f"{backbone}.")
        }
        if random := [name for name in sizes if name in unfilled]:
            logger.warning(
                "%s: %d of %d parameters of %s START AT RANDOM, from %s on; %s",
                path,
                sum(sizes[name] for name in random),
                sum(sizes.values()),
                backbone,
                random[0],
                _CONVERT,
            )

    def _load_readable(self, path: str) -> dict:
        """Load the tensors that fit the model; return the rest of the checkpoint."""
        if "://" not in path and not os.path.isfile(path):
            raise InputError(f"checkpoint {path!r} does not exist; set MODEL.WEIGHTS to one")
        try:
            return self.load(path, checkpointables=[])
        except InputError:
            raise
        except Exception as error:  # errors of broken pickles and archives have no other base
            raise InputError(f"{path}: not a readable checkpoint: {error}") from error

    def _load_file(self, filename: str) -> dict:
        """Read a file as Detectron2 does, without running code in it."""
        loaded = read_checkpoint(filename)
        loaded = loaded if "model" in loaded else {"model": loaded}
        for name, value in loaded["model"].items():
            if not isinstance(value, torch.Tensor | np.ndarray):
                raise InputError(
                    f"{filename}: {name!r} is a {type(value).__name__}; expected the tensors of a "
                    f"model; {_CONVERT}"
                )
        check_finite(filename, loaded["model"])
        if self.cfg is not None:
            check_values(self.cfg, filename, loaded)
        return loaded

    def _load_model(self, checkpoint: dict) -> object:
        if not any(key.startswith(_CRITERION) for key in self.model.state_dict()):
            # a model for inference has no classifiers and tables; they are no reason for a warning
            kept = checkpoint["model"].items()
            kept = {key: value for key, value in kept if not key.startswith(_CRITERION)}
            checkpoint = {**checkpoint, "model": kept}
        self.incompatible = super()._load_model(checkpoint)
        return self.incompatible


def _count_iterations(path: str) -> int:
    """Return the iterations of a run's checkpoint; 0 if it is incomplete or of no run."""
    try:
        # memory mapping reads only the description of the tensors
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return checkpoint["trainer"]["iteration"] + 1
    except Exception:  # errors of broken pickles and archives have no other base
        return 0
