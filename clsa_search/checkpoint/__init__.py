"""Checkpoints: reading, saving, and converting the weights of other projects."""

from clsa_search.checkpoint.checkpointer import PersonSearchCheckpointer
from clsa_search.checkpoint.safe_loading import read_checkpoint

__all__ = ["PersonSearchCheckpointer", "read_checkpoint"]
