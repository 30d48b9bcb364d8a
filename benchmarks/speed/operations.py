"""What a piece of work does: its arithmetic, its traffic, and where a host syncs for its GPU."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

# on a GPU the host syncs for what these find: a value, or how many there are
_WAITING = {
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique2",
    "torchvision::nms",
}
_INDEXING = {"aten::index", "aten::index_put_", "aten::index_put"}  # by a mask they wait too


@dataclass(frozen=True)
class OperationCounts:
    """Of one call.

    flops: floating-point operations of products and convolutions; a multiply-add is two.
    bytes: that operators read and write if each of them goes to memory and back; where several are
        fused, or a cache holds what they share, less has to move.
    syncs: operators at which a host syncs for its GPU, counted on every device; copies between the
        two are not among them.
    """

    flops: int
    bytes: int
    syncs: float


def count_operations(call: Callable[[], Any]) -> OperationCounts:
    """Run something once, by one thread, and count. What is compiled is not seen."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # others would not be watched
    try:
        with FlopCounterMode(display=False) as arithmetic, _Watch() as watch:
            call()
    finally:
        torch.set_num_threads(threads)
    return OperationCounts(arithmetic.get_total_flops(), watch.bytes, watch.syncs)


class _Watch(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self.syncs = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and "empty" not in func.name():
            self.bytes += sum(x.nbytes for x in _tensors((args, kwargs, result)))
        self.syncs += _syncs(func.name().partition(".")[0], args)
        return result


def _syncs(name: str, args: tuple) -> bool:
    by_mask = name in _INDEXING and any(x.dtype == torch.bool for x in _tensors(args[1]))
    return name in _WAITING or by_mask


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if torch.is_tensor(leaf)]
