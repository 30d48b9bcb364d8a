"""Batches of a test set without its unreadable images, which are logged."""

import logging
from collections.abc import Callable, Iterator

from torch.utils.data import DataLoader

from clsa_search.errors import InputError

_FAULT = "fault"  # key of the message in place of a model input

logger = logging.getLogger(__name__)


class FaultMapper:
    """Mapper that returns the fault of an unreadable image, for :class:`ReadableBatches`.

    Args:
        mapper: maps a record to a model input.
    """

    def __init__(self, mapper: Callable[[dict], dict]) -> None:
        self.mapper = mapper

    def __call__(self, record: dict) -> dict:
        """Return the model input of a record, or its fault."""
        try:
            return self.mapper(record)
        except InputError as error:
            return {_FAULT: str(error)}


class ReadableBatches:
    """Batches of a loader without faults; each fault is logged.

    Args:
        loader: loader with a :class:`FaultMapper`.
    """

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[list[dict]]:
        for batch in self.loader:
            for fault in (image[_FAULT] for image in batch if _FAULT in image):
                logger.error("no predictions: %s", fault)
            if readable := [image for image in batch if _FAULT not in image]:
                yield readable
