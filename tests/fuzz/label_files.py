"""Bad files of labels and configs."""

import json
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from clsa_search.data.builtin import PUBLISHED_SPLITS
from clsa_search.data.datasets.custom_json import load_custom_galleries, load_custom_json
from clsa_search.data.datasets.json_queries import make_queries
from clsa_search.data.datasets.mot import import_mot
from clsa_search.engine import load_config
from clsa_search.visualize.curves import read_metrics
from tests.data.datasets.test_mot import walk, write_sequence
from tests.fuzz.harness import Trial
from tests.fuzz.mutations import VALUES, damage, mutate
from tests.support.published_datasets import WRITERS
from tests.support.tiny import ROOT, make_split

_LABELS = {".mat", ".json", ".txt", ".npz"}  # of datasets and of their cache


@contextmanager
def custom_json(folder: Path) -> Iterator[Trial]:
    """Damage the bytes or the values of a split's JSON file."""
    content = make_split(folder, "gallery", images=6, queries=True).read_bytes()
    document = json.loads(content)
    document["galleries"] = {"few": {"0": [0, 1, 2], "1": [3]}}
    path = folder / "damaged.json"

    def trial(chance: random.Random) -> None:
        path.write_bytes(damage_json(content, document, chance))
        load_custom_json(path)
        for build in load_custom_galleries(path).values():
            build()

    yield trial


@contextmanager
def tool_json(folder: Path) -> Iterator[Trial]:
    """Damage a JSON file of an annotation tool, and choose its fields at random."""
    document = json.loads(make_split(folder, "tool", images=4, queries=False).read_text())
    document["categories"] = [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}]
    for number, annotation in enumerate(document["annotations"]):
        person = annotation.pop("person_id")
        annotation |= {"attributes": {"track_id": person}, "who": "ab"[number % 2], "pid": person}
    content = json.dumps(document).encode("utf-8-sig")
    path = folder / "damaged.json"
    fields = ["attributes.track_id", "who", "pid", "person_id", "a.b.c", "", "attributes", "bbox"]
    categories = [None, "person", "1", "car", "", "\0"]

    def trial(chance: random.Random) -> None:
        path.write_bytes(damage_json(content, document, chance))
        options = {"id_field": chance.choice(fields), "category": chance.choice(categories)}
        if chance.random() < 0.5:
            load_custom_json(path, **options)
        else:
            make_queries(path, folder / "out.json", **options)
            load_custom_json(folder / "out.json")

    yield trial


def damage_json(content: bytes, document: object, chance: random.Random) -> bytes:
    """Return damaged bytes, or a text with other values."""
    if chance.random() < 0.3:
        return damage(content, chance)
    return json.dumps(mutate(document, chance)).encode()


@contextmanager
def published_datasets(folder: Path) -> Iterator[Trial]:
    """Damage a MAT, JSON or text file of a published dataset, or its cache.

    A damaged cache has to be rebuilt: the records stay the same.
    """
    splits: dict[str, list] = {}
    files: list[tuple[str, Path, bytes]] = []
    for name, write in WRITERS.items():
        root = write(folder / name)
        own = [split for split in PUBLISHED_SPLITS.values() if split.folder == name]
        splits[name] = [(split, split.load(root)) for split in own]  # writes the cache, too
        files += [
            (name, path, path.read_bytes())
            for path in sorted(root.rglob("*"))
            if path.suffix in _LABELS
        ]

    def trial(chance: random.Random) -> None:
        name, path, content = chance.choice(files)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(damage(content, chance))
        try:
            for split, records in splits[name]:
                found = split.load(folder / name)
                assert path.suffix != ".npz" or found == records, "other records from the cache"
                for build in split.galleries.values():
                    build(folder / name)
        finally:
            if path.suffix != ".npz":
                path.write_bytes(content)
                shutil.rmtree(folder / name / ".clsa_search_cache", ignore_errors=True)

    yield trial


@contextmanager
def tracks(folder: Path) -> Iterator[Trial]:
    """Damage a text file of a MOTChallenge folder."""
    for name in "abc":
        sequence = write_sequence(folder / "mot", name, walk(1, 0.5, 0.9, 0.9) + walk(2, 1, 1))
        (sequence / "seqinfo.ini").write_text(
            f"[Sequence]\nname={name}\nimDir=img1\nframeRate=30\nseqLength=3\n"
            "imWidth=40\nimHeight=30\nimExt=.jpg\n"
        )
        (sequence / "gt" / "labels.txt").write_text("person\n")
    files = [(path, path.read_bytes()) for path in sorted((folder / "mot").rglob("*.[ti][xn][ti]"))]

    def trial(chance: random.Random) -> None:
        path, content = chance.choice(files)
        fields = content.split(b",")
        if chance.random() < 0.5 and len(fields) > 1:
            fields[chance.randrange(len(fields))] = _as_text(chance)
            path.write_bytes(b",".join(fields))
        else:
            path.write_bytes(damage(content, chance))
        try:
            import_mot(folder / "mot", folder / "out", test_fraction=0.5)
        finally:
            path.write_bytes(content)

    yield trial


def _as_text(chance: random.Random) -> bytes:
    value = chance.choice(VALUES)
    return str(value if value != 10**400 else "9" * 400).encode(errors="surrogatepass")


@contextmanager
def configs(folder: Path) -> Iterator[Trial]:
    """Damage the bytes or the values of a config, and the pairs of the command line."""
    contents = [path.read_bytes() for path in sorted((ROOT / "configs").glob("*.yaml"))]
    documents = [yaml.safe_load(content) for content in contents]
    for path in (ROOT / "configs").glob("*.yaml"):
        shutil.copy(path, folder)  # bases of the damaged one
    path = folder / "damaged.yaml"
    keys = ["MODEL.DEVICE", "SOLVER.BASE_LR", "MODEL.REID.CROP_SIZE", "SOLVER", "", "A.B", "_BASE_"]

    def trial(chance: random.Random) -> None:
        number = chance.randrange(len(contents))
        content = contents[number]
        if chance.random() < 0.5:
            text = yaml.safe_dump(mutate(documents[number], chance), allow_unicode=True)
            content = text.encode(errors="surrogatepass")
        elif chance.random() < 0.8:
            content = damage(content, chance)
        path.write_bytes(content)
        pairs = [chance.choice(keys), str(_as_text(chance))] if chance.random() < 0.3 else []
        load_config(path, pairs)

    yield trial


@contextmanager
def metrics(folder: Path) -> Iterator[Trial]:
    """Damage the metrics of a training run, which its curves show."""
    rows = [{"iteration": i, "total_loss": 5 - i / 10, "lr": 0.1, "time": 1.0} for i in range(20)]
    content = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    path = folder / "metrics.json"

    def trial(chance: random.Random) -> None:
        if chance.random() < 0.5:
            path.write_bytes(damage(content, chance))
        else:
            changed = [mutate(row, chance) if chance.random() < 0.1 else row for row in rows]
            path.write_text("\n".join(map(json.dumps, changed)))
        read_metrics(path)

    yield trial
