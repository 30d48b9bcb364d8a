"""Checkpoints: reading, saving, and converting the weights of other projects."""

from typing import TYPE_CHECKING

from clsa_search.lazy import lazy_exports

if TYPE_CHECKING:
    from clsa_search.checkpoint.checkpointer import PersonSearchCheckpointer
    from clsa_search.checkpoint.conversion import convert_weights, save_weights
    from clsa_search.checkpoint.safe_loading import read_checkpoint
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "PersonSearchCheckpointer": "clsa_search.checkpoint.checkpointer",
            "convert_weights": "clsa_search.checkpoint.conversion",
            "read_checkpoint": "clsa_search.checkpoint.safe_loading",
            "save_weights": "clsa_search.checkpoint.conversion",
        },
    )

__all__ = ["PersonSearchCheckpointer", "convert_weights", "read_checkpoint", "save_weights"]
