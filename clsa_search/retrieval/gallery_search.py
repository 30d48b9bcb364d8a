"""A gallery with the model that made it: asking who is where.

D width of a embedding, m people of a picture.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from clsa_search.config_files import find_config
from clsa_search.errors import InputError
from clsa_search.gallery import Filter, GalleryStore, open_store
from clsa_search.retrieval.filter_checks import check_times
from clsa_search.retrieval.predictor import PersonSearchPredictor
from clsa_search.retrieval.results import (
    QueryResult,
    check_unchanged,
    draw_placeholder,
    read_person_images,
)
from clsa_search.structures import DEFAULT_SCORE_THRESHOLD, ImageDetections
from clsa_search.visualize import PersonImage

WEIGHTS, CONFIG = "weights_file", "config_file"  # what `about` of a store calls them


class GallerySearch:
    """A store and the model of its embeddings; see :func:`open_gallery`."""

    def __init__(self, store: GalleryStore, predictor: PersonSearchPredictor) -> None:
        self.store = store
        self.predictor = predictor
        self._fingerprints: dict[str, str | None] = {}  # of sources, as last read

    def detect(self, image: np.ndarray) -> ImageDetections:
        """The people of a picture (H, W, 3) RGB uint8."""
        return self.predictor.detect([image])[0]

    def search(
        self,
        person: Sequence[PersonImage],
        k: int = 10,
        where: Filter | None = None,
        per: Literal["image", "match"] = "image",
        title: str = "query",
    ) -> QueryResult:
        """Search for one person.

        Args:
            person: one or several pictures of the same person, whose embeddings are averaged.
            k, where, per: see :meth:`GalleryStore.search`.
            title: of the answer.

        Raises:
            InputError: there is no picture, or a box is not in its picture.
        """
        rows = [self.predictor.embed(one.image, [one.box])[0] for one in person]
        return self.search_by_embedding(combine(rows), person, k, where, per, title)

    def search_by_id(
        self,
        detection_id: int,
        k: int = 10,
        where: Filter | None = None,
        per: Literal["image", "match"] = "image",
    ) -> QueryResult:
        """Search for a person of the gallery itself, who is among the matches.

        A picture that is gone or was changed leaves a placeholder.

        Raises:
            InputError: there is no such detection.
        """
        (entry,) = self.store.get([detection_id])
        one = QueryResult("", [], [entry], [1.0], self._recall_fingerprints([entry.source]))
        ((_, found),) = read_person_images([one])
        name = os.path.basename(entry.source)
        if isinstance(found, PersonImage):
            person = replace(found, caption=name)
        else:
            person = draw_placeholder(f"{name}, no picture")
        title = f"detection {detection_id}"
        return self.search_by_embedding(entry.embedding, [person], k, where, per, title)

    def search_by_embedding(
        self,
        embedding: np.ndarray,
        person: Sequence[PersonImage],
        k: int = 10,
        where: Filter | None = None,
        per: Literal["image", "match"] = "image",
        title: str = "query",
    ) -> QueryResult:
        """Search with a embedding (D,) that is known already; `person` is to be shown only.

        Raises:
            InputError: see :func:`check_times`.
        """
        if where is not None:
            check_times(self.store, where)
        (matches,) = self.store.search(np.array(embedding, dtype=np.float32)[None], k, where, per)
        entries = [match.detection for match in matches]
        similarities = [match.similarity for match in matches]
        fingerprints = self._recall_fingerprints({entry.source for entry in entries})
        return QueryResult(title, person, entries, similarities, fingerprints)

    def close(self) -> None:
        self.store.close()

    def _recall_fingerprints(self, paths: Iterable[str]) -> dict[str, str | None]:
        """Of these sources; all are read again only if one is new here or a file has changed."""
        try:
            for path in filter(os.path.isfile, paths):
                check_unchanged(path, self._fingerprints[path])
        except (KeyError, InputError):
            self._fingerprints = {one.path: one.fingerprint for one in self.store.sources()}
        return {path: self._fingerprints.get(path) for path in paths}

    def __enter__(self) -> "GallerySearch":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_gallery(
    address: str | os.PathLike,
    weights: str | os.PathLike | None = None,
    config_file: str | os.PathLike | None = None,
    *,
    create: bool = False,
    min_score: float = DEFAULT_SCORE_THRESHOLD,
    device: str | None = None,
    dtype: torch.dtype = torch.float32,
    precision: str | None = None,
) -> GallerySearch:
    """Open a gallery and load the model that made it.

    Args:
        address: see :func:`open_store`.
        weights: the checkpoint; by default where it was when the gallery was made.
        config_file: of the weights; by default as then, or the one beside the weights.
        create: start a new gallery where there is none; needs weights.
        min_score: detections below do not exist.
        device: of the model and the search; by default a GPU, where there is one.
        dtype: see :func:`open_store`.
        precision: TEST.DTYPE of the model, by default its config's.

    Raises:
        InputError: there is no gallery, the weights are missing, or others than the gallery's.
    """
    if weights is None:
        if create:
            raise InputError(f"{address}: a new gallery needs weights; expected a checkpoint")
        weights, config_file = _recall_weights(address, config_file)
    predictor = PersonSearchPredictor.load(
        weights, config_file, device=device, dtype=precision, min_score=min_score
    )
    about = {WEIGHTS: os.path.abspath(weights)}
    if config_file is not None:
        about[CONFIG] = os.path.abspath(find_config(config_file))
    store = open_store(
        address,
        weights=predictor.weights_sha256,
        create=create,
        about=about,
        device=predictor.device,
        dtype=dtype,
    )
    return GallerySearch(store, predictor)


def combine(embeddings: Sequence[np.ndarray]) -> np.ndarray:
    """Embeddings (D,) of one person as one: their mean, made unit.

    Raises:
        InputError: there is none, or they cancel each other.
    """
    if not len(embeddings):
        raise InputError("query: no picture of the person; expected one or more")
    mean = np.mean(embeddings, axis=0)
    length = np.linalg.norm(mean)
    if length < 1e-3:
        raise InputError("query: the pictures have nothing in common; expected one person in all")
    return (mean / length).astype(np.float32)


def _recall_weights(
    address: str | os.PathLike, config_file: str | os.PathLike | None
) -> tuple[str, str | os.PathLike | None]:
    with open_store(address) as store:
        about = store.about
    weights = about.get(WEIGHTS)
    if not weights or not os.path.isfile(weights):
        raise InputError(
            f"{address}: the weights that made it, {weights or 'unknown'}, are not there; "
            "expected --weights with their path"
        )
    return weights, config_file or about.get(CONFIG)
