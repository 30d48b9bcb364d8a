"""Functions with launches on a GPU recorded once for each repeated size."""

import logging
import math
from collections import OrderedDict
from threading import Lock
from typing import Any

import torch

from clsa_search.modeling.gpu_ops import Replay, TensorFunction, Tensors, new_pool

_SMALLEST_BUCKET = 8

logger = logging.getLogger(__name__)


class RecordedFunction:
    """A function of tensors, replayed for repeated sizes.

    A size is recorded when it comes again while it is among the last `capacity` sizes. So images
    that all differ in size cost no recordings. After a recording that failed, because the function
    waits for the device or memory is short, it runs as it is. Several threads may call it.

    Args:
        function: function whose result's shapes follow from its arguments' shapes; it may not wait
            for the device.
        capacity: largest number of recordings.
        max_elements: largest recorded number of elements of the first argument. Larger
            calls gain little, because the device has enough to do.
    """

    def __init__(self, function: TensorFunction, *, capacity: int, max_elements: int) -> None:
        self.function = function
        self.capacity = capacity
        self.max_elements = max_elements
        self._replays: OrderedDict[tuple, Replay | None] = OrderedDict()  # latest size last
        self._pool: Any = None
        self._lock = Lock()

    def __call__(self, *arguments: torch.Tensor) -> Tensors:
        """Return the function's results."""
        if arguments[0].numel() > self.max_elements:
            return self.function(*arguments)
        key = tuple((argument.shape, argument.dtype, argument.device) for argument in arguments)
        with self._lock:
            repeats = key in self._replays
            replay = self._replays.pop(key, None)
            if repeats and replay is None:
                replay = self._record(arguments)
            self._replays[key] = replay
            if len(self._replays) > self.capacity:
                self._replays.popitem(last=False)
            if replay is not None:
                return replay(*arguments)
        return self.function(*arguments)

    def _record(self, arguments: tuple[torch.Tensor, ...]) -> Replay | None:
        """Record the function for the sizes of some arguments; return None if that fails."""
        self._pool = self._pool or new_pool(arguments[0].device)
        try:
            return Replay(self.function, arguments, self._pool)
        except RuntimeError as error:  # a fault of the function itself shows in the next call
            reason = str(error).strip().partition("\n")[0]
            logger.warning("Launches are not recorded, which takes longer: %s", reason)
            self.capacity, self._pool = 0, None
            self._replays.clear()
            return None


def bucket_size(count: int) -> int:
    """Round a count up, by a quarter at most beyond 8, to leave few different sizes."""
    step = _SMALLEST_BUCKET
    while 8 * step < count:
        step *= 2
    return math.ceil(count / step) * step
