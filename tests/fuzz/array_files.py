"""Damaged predictions, checkpoints and galleries."""

import dataclasses
import io
import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from detectron2.modeling import build_model

from clsa_search.checkpoint.backbone_layouts import read_backbone
from clsa_search.checkpoint.checkpointer import PersonSearchCheckpointer
from clsa_search.checkpoint.safe_loading import read_checkpoint
from clsa_search.engine import load_config
from clsa_search.evaluation import check_predictions, load_predictions, save_predictions
from clsa_search.gallery import Filter, copy_gallery, open_store
from tests.fuzz.harness import Trial
from tests.fuzz.mutations import damage
from tests.support.evaluation_cases import generate_dataset
from tests.support.store_cases import WEIGHTS, make_embeddings, make_images, new_store
from tests.support.tiny import ROOT, TINY_MODEL


@contextmanager
def predictions(folder: Path) -> Iterator[Trial]:
    """Damage the bytes or the arrays of a predictions file."""
    records, whole = generate_dataset(np.random.default_rng(0))
    good = folder / "good.npz"
    save_predictions(whole, good)
    content = good.read_bytes()
    with np.load(good) as archive:
        arrays = dict(archive)
    path = folder / "damaged.npz"

    def trial(chance: random.Random) -> None:
        if chance.random() < 0.5:
            path.write_bytes(damage(content, chance))
            loaded = load_predictions(path)
            assert _equal(loaded, whole), "other predictions from damaged bytes"
        else:
            changed = dict(arrays)
            name = chance.choice(list(changed))
            changed[name] = _damage_array(changed[name], chance)
            np.savez(path, **changed)
            loaded = load_predictions(path)
        check_predictions(loaded, records, path)

    yield trial


def _equal(one: object, other: object) -> bool:
    if dataclasses.is_dataclass(one):
        fields = (field.name for field in dataclasses.fields(one))
        return all(_equal(getattr(one, name), getattr(other, name)) for name in fields)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    return one == other


def _damage_array(array: np.ndarray, chance: random.Random) -> np.ndarray:
    """Return an array of another shape, type, length, or with other values."""
    changes = [
        lambda: array[:-1],
        lambda: np.concatenate([array, array]) if array.ndim else array.reshape(1, 1),
        lambda: array[..., None],
        lambda: array.reshape(-1)[:0],
        lambda: array.astype(chance.choice(("S4", "U2", "c8", "?", "i1", "f2")), casting="unsafe"),
        lambda: np.full_like(array, chance.choice((-1, 0, 7)) if array.dtype.kind in "if" else 0),
        lambda: np.array(chance.choice((0, "x", [], np.nan, 2**62))),
        lambda: array * np.nan if array.dtype.kind == "f" else array[::-1],
    ]
    try:
        return chance.choice(changes)()
    except (ValueError, TypeError, IndexError):  # not with this array
        return array[()]


@contextmanager
def checkpoints(folder: Path) -> Iterator[Trial]:
    """Damage a checkpoint of torch or of Detectron2, or its tensors, and load a model from it."""
    model = build_model(load_config(ROOT / "configs/clsa_small_synthetic_demo.yaml", TINY_MODEL))
    state = model.state_dict()
    checkpointer = PersonSearchCheckpointer(model)
    contents = {".pth": io.BytesIO(), ".pkl": io.BytesIO(), ".tar": io.BytesIO()}
    torch.save({"model": state}, contents[".pth"])
    torch.save({"model": state}, contents[".tar"], _use_new_zipfile_serialization=False)
    arrays = {name: value.numpy() for name, value in state.items()}
    pickle.dump({"model": arrays, "__author__": "Detectron2"}, contents[".pkl"])

    def trial(chance: random.Random) -> None:
        suffix = chance.choice(list(contents))
        path = str(folder / f"damaged{suffix}")
        if chance.random() < 0.8:
            content = _damage_somewhere(contents[suffix].getvalue(), chance)
            Path(path).write_bytes(content)
        else:
            name = chance.choice(list(state))
            torch.save({"model": {**state, name: _damage_tensor(state[name], chance)}}, path)
        chance.choice((read_checkpoint, checkpointer.load_weights, checkpointer.load_strictly))(
            path
        )
        read_backbone(path, backbone="backbone.bottom_up")

    yield trial


def _damage_somewhere(content: bytes, chance: random.Random) -> bytes:
    """Damage the description at the beginning or at the end more often than the tensors."""
    edge = min(4000, len(content) // 3)
    start, stop = chance.choice(((0, edge), (len(content) - edge, len(content)), (0, len(content))))
    return content[:start] + damage(content[start:stop], chance) + content[stop:]


def _damage_tensor(tensor: torch.Tensor, chance: random.Random) -> object:
    return chance.choice(
        (
            None,
            "x",
            [1.0],
            tensor.numpy(),
            tensor[..., None],
            tensor.reshape(-1)[:0],
            torch.full_like(tensor.float(), float("nan")),
            torch.full_like(tensor.float(), float("inf")),
            tensor.to(torch.int8),
            tensor.to(torch.complex64),
            tensor.to_sparse(),
        )
    )


@contextmanager
def galleries(folder: Path) -> Iterator[Trial]:
    """Damage the file of a gallery; it is refused, or it answers as before."""
    good, path = folder / "good.db", folder / "damaged.db"
    queries = make_embeddings(3, seed=9)
    with new_store(good) as store:
        store.add(make_images(30))
        expected = {detection.detection_id: detection for detection in store.list()}
        hits = store.search_ids(queries, 5)
    content = good.read_bytes()

    def trial(chance: random.Random) -> None:
        for name in folder.glob("damaged.db*"):
            name.unlink()
        path.write_bytes(damage(content, chance))
        with open_store(path, weights=chance.choice((WEIGHTS, None))) as store:
            store.sources(), store.cameras(), store.count(Filter(since=3))
            found = store.search_ids(queries, 5)
            assert np.array_equal(found.ids, hits.ids), "other matches"
            for detection in store.list():
                assert _equal(detection, expected[detection.detection_id]), "another detection"
            copy_gallery(store, str(folder / "damaged.db.copy"))

    yield trial
