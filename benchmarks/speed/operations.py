"""Operation counts of a call: arithmetic, memory traffic and GPU synchronizations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

# On a GPU the host waits for the results of these: a value, or a number of values.
_SYNCHRONIZING = {
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique2",
    "torchvision::nms",
}
_INDEXING = {"aten::index", "aten::index_put_", "aten::index_put"}  # these wait for a mask


@dataclass(frozen=True)
class OperationCounts:
    """Operation counts of one call.

    Args:
        flops: floating-point operations of products and convolutions; a multiply-add is two.
        bytes: bytes of operands and results of all operators. Fused operators and caches move less.
        syncs: operators with a synchronization of GPU and host, counted on every device; copies
            between the two do not count.
    """

    flops: int
    bytes: int
    syncs: float


def count_operations(call: Callable[[], Any]) -> OperationCounts:
    """Run a call once on one thread and count its operations; compiled code is not counted."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the counters see one thread only
    try:
        with FlopCounterMode(display=False) as arithmetic, _Counter() as counter:
            call()
    finally:
        torch.set_num_threads(threads)
    return OperationCounts(arithmetic.get_total_flops(), counter.bytes, counter.syncs)


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self.syncs = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and "empty" not in func.name():
            self.bytes += sum(x.nbytes for x in _tensors((args, kwargs, result)))
        self.syncs += _synchronizes(func.name().partition(".")[0], args)
        return result


def _synchronizes(name: str, args: Sequence[Any]) -> bool:
    by_mask = name in _INDEXING and any(x.dtype == torch.bool for x in _tensors(args[1]))
    return name in _SYNCHRONIZING or by_mask


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if torch.is_tensor(leaf)]
