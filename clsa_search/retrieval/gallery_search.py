"""Search of a gallery with the model of its embeddings.

Shape letters: D embedding width.
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from clsa_search.argument_checks import check_path, check_type
from clsa_search.config_files import find_config
from clsa_search.errors import InputError
from clsa_search.gallery import Filter, GalleryStore, open_store
from clsa_search.retrieval.filter_checks import check_filter, check_times
from clsa_search.retrieval.match_judge import MatchJudge
from clsa_search.retrieval.predictor import PersonSearchPredictor, check_boxes
from clsa_search.retrieval.result_images import check_unchanged, read_person_images
from clsa_search.retrieval.results import QueryResult
from clsa_search.retrieval.sighting_search import SightingChoice, search_sightings
from clsa_search.structures import DEFAULT_SCORE_THRESHOLD, ImageDetections, PersonImage
from clsa_search.visualize import make_placeholder

Per = Literal["image", "match", "tracklet"]
_WEIGHTS, _CONFIG = "weights_file", "config_file"  # keys of `GalleryStore.about`


class GallerySearch:
    """A gallery and the predictor of its embeddings, see :func:`open_gallery`.

    Args:
        store: gallery.
        predictor: model with the weights of the gallery.
    """

    def __init__(self, store: GalleryStore, predictor: PersonSearchPredictor) -> None:
        self.store = store
        self.predictor = predictor
        self.judge = MatchJudge(store)
        self._fingerprints: dict[str, str | None] = {}  # of the store's sources, may be outdated

    def detect(self, image: np.ndarray) -> ImageDetections:
        """Detect the people of an image (H, W, 3) RGB uint8."""
        return self.predictor.detect([image])[0]

    def search(
        self,
        persons: Sequence[PersonImage],
        k: int = 10,
        where: Filter | None = None,
        per: Per = "image",
        title: str = "",
        choice: SightingChoice | None = None,
    ) -> QueryResult:
        """Search for one person.

        Args:
            persons: images of the same person; their embeddings are averaged. Boxes are cut at the
                borders of their images.
            k: maximum number of matches.
            where: filter of the gallery's detections.
            per: "image" keeps the best match of each image or frame, "match" keeps all;
                "tracklet" ranks tracklets and shows the best detection of each.
            title: title of the result; by default the captions of the images.
            choice: what the user accepts of sightings; needs `per` "tracklet".

        Raises:
            InputError: there is no image, a box lies outside its image, or the filter's times
                cannot match, see :func:`check_times`.
        """
        for one in persons:
            check_type("persons", one, PersonImage, "a list of PersonImage")
        persons = [replace(one, box=check_boxes([one.box], one.image)[0]) for one in persons]
        rows = [self.predictor.embed(one.image, [one.box])[0] for one in persons]
        title = title or " + ".join(filter(None, (one.caption for one in persons))) or "query"
        return self.search_by_embedding(
            average_embeddings(rows), persons, k, where, per, title, choice
        )

    def search_by_id(
        self,
        detection_id: int,
        k: int = 10,
        where: Filter | None = None,
        per: Per = "image",
        choice: SightingChoice | None = None,
    ) -> QueryResult:
        """Search for a detection of the gallery; it is a match of itself.

        Per "tracklet", the embedding of its tracklet is searched: several views say more than one,
        and it is the most similar match. If its image is missing or changed, the result shows a
        placeholder.

        Args:
            detection_id: id of the detection.
            k: maximum number of matches.
            where: filter of the gallery's detections.
            per: see :meth:`search`.
            choice: what the user accepts of sightings; needs `per` "tracklet".

        Raises:
            InputError: there is no such detection, or see :meth:`search`.
        """
        with self.store.snapshot():
            (detection,) = self.store.get([detection_id])
            title = f"detection {detection_id}"
            embedding = detection.embedding
            if per == "tracklet":
                (tracklet,) = self.store.get_tracklets(self.store.find_tracklets([detection_id]))
                embedding = np.asarray(tracklet.embedding)
            result = self.search_by_embedding(
                embedding, [], k, where, per, title, choice, [detection.time]
            )
            fingerprints = self.get_fingerprints([detection.source])
        ((_, person),) = read_person_images([detection], fingerprints)
        name = os.path.basename(detection.source)
        if isinstance(person, InputError):
            person = make_placeholder(f"{name}, no image")
        else:
            person = replace(person, caption=name)
        return replace(result, query_images=[person])

    def search_by_embedding(
        self,
        embedding: np.ndarray,
        query_images: Sequence[PersonImage],
        k: int = 10,
        where: Filter | None = None,
        per: Per = "image",
        title: str = "query",
        choice: SightingChoice | None = None,
        query_times: Sequence[float | None] = (),
    ) -> QueryResult:
        """Search with a known embedding.

        Args:
            embedding: (D,) of unit length, from the weights of the gallery.
            query_images: images to show with the result.
            k: maximum number of matches.
            where: filter of the gallery's detections.
            per: see :meth:`search`.
            title: title of the result.
            choice: what the user accepts of sightings; needs `per` "tracklet".
            query_times: times of the query images in seconds, where known.

        Raises:
            InputError: the filter matches nothing, see :func:`check_filter` and
                :func:`check_times`.
        """
        query = np.array(embedding, dtype=np.float32)[None]
        with self.store.snapshot():
            if where is not None:
                check_filter(self.store, where)
                check_times(self.store, where)
            answer = None
            if per == "tracklet":
                matches, answer = search_sightings(
                    self.store, self.judge, query[0], k, where, choice
                )
            elif choice is not None:
                raise InputError(f"choice: is about sightings, not per {per}; expected none")
            else:
                (matches,) = self.store.search(query, k, where, per)
            searched = self.store.count(where) if answer is None else answer.searched
            fingerprints = self.get_fingerprints({match.detection.source for match in matches})
        return QueryResult(
            title, query_images, matches, fingerprints, answer, searched, query_times
        )

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def get_fingerprints(self, paths: Collection[str]) -> dict[str, str | None]:
        """Return the fingerprints of sources; read them again if one is new or its file changed."""
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
    """Open a gallery and load the model of its embeddings.

    Args:
        address: address of the store, see :func:`open_store`.
        weights: checkpoint; by default the remembered one of the gallery.
        config_file: config of the weights; by default the remembered one, or the one beside them.
        create: create the gallery if there is none; needs weights.
        min_score: detections of the model with a lower score are dropped.
        device: device of model and search; by default a GPU if there is one.
        dtype: type of the embeddings in memory, see :func:`open_store`.
        precision: TEST.DTYPE of the model; by default its config's.

    Raises:
        InputError: there is no gallery, or its weights are missing or differ.
    """
    address = check_path("address", address)
    if weights is None:
        weights, config_file = _find_weights(address, config_file, create)
    predictor = PersonSearchPredictor.load(
        weights, config_file, device=device, dtype=precision, min_score=min_score
    )
    store = open_store(
        address,
        weights=predictor.weights_sha256,
        create=create,
        about=_describe_model(weights, config_file),
        device=predictor.device,
        dtype=dtype,
    )
    return GallerySearch(store, predictor)


def average_embeddings(embeddings: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean of embeddings (D,) of one person, scaled to unit length.

    Raises:
        InputError: there is no embedding, or the mean is zero.
    """
    if not len(embeddings):
        raise InputError("query: no image of the person; expected one or more")
    mean = np.mean(embeddings, axis=0)
    length = np.linalg.norm(mean)
    if length < 1e-3:
        raise InputError("query: the images have nothing in common; expected one person in all")
    return (mean / length).astype(np.float32)


def _describe_model(
    weights: str | os.PathLike, config_file: str | os.PathLike | None
) -> dict[str, str]:
    """Return the paths to remember in a gallery."""
    about = {_WEIGHTS: os.path.abspath(weights)}
    if config_file is not None:
        about[_CONFIG] = os.path.abspath(find_config(config_file))
    return about


def _find_weights(
    address: str | os.PathLike, config_file: str | os.PathLike | None, create: bool
) -> tuple[str, str | os.PathLike | None]:
    """Return the remembered weights and config of a gallery."""
    if create:
        raise InputError(f"{address}: a new gallery needs weights; expected a checkpoint")
    with open_store(address) as store:
        about = store.about
    weights = about.get(_WEIGHTS)
    if not weights or not os.path.isfile(weights):
        raise InputError(
            f"{address}: its weights {weights or '(unknown)'} do not exist; "
            "expected --weights with their path"
        )
    return weights, config_file or about.get(_CONFIG)
