"""Searches of a gallery beside other processes, and arguments of wrong types."""

import pytest

import clsa_search
from clsa_search.errors import InputError
from clsa_search.gallery.sqlite_store import SQLiteStore
from clsa_search.retrieval.gallery_search import GallerySearch
from tests.support.desk_cases import make_gallery
from tests.support.link_cases import look, make_clip
from tests.support.store_cases import new_store
from tests.support.tracklet_cases import link_by


class WatchedStore(SQLiteStore):
    """A store that tells when it has read detections."""

    def get(self, ids):
        found = super().get(ids)
        self.on_read()
        return found


def test_a_search_by_id_beside_a_deletion_sees_one_state(tmp_path):
    with make_gallery(tmp_path) as gallery:
        (first, *_) = gallery.store.list()
        with WatchedStore(tmp_path / "gallery.db", weights=gallery.store.weights) as store:
            store.on_read = lambda: gallery.store.delete(first.source)
            search = GallerySearch(store, gallery.predictor)
            result = search.search_by_id(first.detection_id, per="match")
            assert result.matches[0].detection.detection_id == first.detection_id
            assert result.fingerprints[first.source]
            store.on_read = lambda: None
            with pytest.raises(InputError, match="gallery.db: .*1"):
                search.search_by_id(first.detection_id)


def test_a_searched_sighting_is_its_own_best_match(tmp_path):
    """One of its detections looks like another sighting; the sighting as a whole does not."""
    walk = make_clip(lambda time: [(0, look(1, 0.9 * (time % 4 == 0)))], "walk.mp4", 8, 0)
    other = make_clip(lambda time: [(0, look(1, 1))], "other.mp4", 8, 0)
    with new_store(tmp_path / "g.db") as store:
        store.add([*walk, *other])
        for path in store.paths():
            link_by(store, path, lambda one: one.source)
        search = GallerySearch(store, predictor=None)
        alone = search.search_by_id(1, per="match").matches
        assert {one.detection.source for one in alone[:3]} == {"walk.mp4", "other.mp4"}
        first, second = search.search_by_id(1, per="tracklet").matches
        assert (first.tracklet.source, second.tracklet.source) == ("walk.mp4", "other.mp4")
        assert first.similarity == pytest.approx(1, abs=1e-5)


def test_wrong_arguments_of_a_search_are_named(tmp_path):
    with make_gallery(tmp_path) as gallery:
        with pytest.raises(InputError, match="^persons: is of type str; expected a list of Person"):
            gallery.search("person.jpg")
        with pytest.raises(InputError, match="^where: is of type str; expected a Filter"):
            gallery.search_by_id(gallery.store.list()[0].detection_id, where="north")


@pytest.mark.parametrize("value", [5, b"x", [], object(), float("nan"), "\0"])
def test_arguments_that_are_no_paths_are_named(value):
    for name, call in (
        ("config_file", lambda: clsa_search.load_config(value)),
        ("json_file", lambda: clsa_search.register_custom_json("name", value)),
        ("path", lambda: clsa_search.load_predictions(value)),
        ("address", lambda: clsa_search.open_gallery(value)),
        ("weights", lambda: clsa_search.open_gallery("g.db", value, create=True)),
        ("weights", lambda: clsa_search.PersonSearchPredictor.load(value)),
        ("output_dir", lambda: clsa_search.PersonSearchEvaluator("name", output_dir=value)),
    ):
        with pytest.raises(InputError, match=f"^{name}: .*; ?expected a path|{name}: .* null"):
            call()


@pytest.mark.parametrize("value", [None, 5, b"x", object(), {}])
def test_other_arguments_of_wrong_types_are_named(value):
    for name, call in (
        ("opts", lambda: clsa_search.load_config("", value)),
        ("name", lambda: clsa_search.register_custom_json(value, "a.json")),
        ("dataset_name", lambda: clsa_search.PersonSearchEvaluator(value)),
        ("options", lambda: clsa_search.PersonSearchEvaluator("name", options=value)),
        ("cfg", lambda: clsa_search.add_clsa_search_config(value)),
        ("cfg", lambda: clsa_search.PersonSearchTrainer(value)),
    ):
        with pytest.raises(InputError, match=f"^{name}: is of type {type(value).__name__}; exp"):
            call()
