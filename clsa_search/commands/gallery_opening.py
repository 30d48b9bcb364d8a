"""Opening the gallery of the arguments, with its model."""

import argparse
import logging
from typing import TYPE_CHECKING

from clsa_search.structures import DEFAULT_SCORE_THRESHOLD

if TYPE_CHECKING:
    from clsa_search.retrieval import GallerySearch


def open_gallery_of(
    args: argparse.Namespace,
    *,
    create: bool = False,
    min_score: float = DEFAULT_SCORE_THRESHOLD,
    half: bool = False,
) -> "GallerySearch":
    """Open the gallery of the arguments."""
    import torch

    from clsa_search.engine import keep_freed_memory
    from clsa_search.retrieval import open_gallery

    logging.basicConfig(level=logging.WARNING)
    gallery = open_gallery(
        args.store,
        args.weights,
        args.config_file,
        create=create,
        min_score=min_score,
        device=args.device,
        dtype=torch.float16 if half else torch.float32,
        precision=args.precision,
    )
    keep_freed_memory(gallery.predictor.device)
    return gallery
