"""Synthetic dataset: files, scenes, interruptions, bad parameters and the command."""

import json
from collections import Counter, defaultdict
from dataclasses import fields, replace

import cv2
import pytest

from clsa_search.data import load_custom_json
from clsa_search.data.synthetic import dataset as synthetic
from clsa_search.data.synthetic.dataset import make_synthetic
from clsa_search.data.synthetic.plan import plan_scenes
from clsa_search.data.synthetic.spec import PRESETS, SyntheticSpec
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED
from tests.support.tiny import load_tool

TINY = SyntheticSpec(
    seed=5,
    train_ids=10,
    test_ids=7,
    train_images=10,
    gallery_images=14,
    width=120,
    height=90,
    min_height=14,
    min_people=3,
    max_people=5,
    cameras=3,
)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read(folder, split):
    return json.loads((folder / f"{split}.json").read_text())


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "scenes"
    assert make_synthetic(folder, TINY, workers=1)
    return folder


# ------------------------------------------------------------------------------------ the files


def test_same_seed_gives_same_bytes_with_any_number_of_workers(generated, tmp_path):
    assert make_synthetic(tmp_path / "again", TINY, workers=3)
    assert contents(tmp_path / "again") == contents(generated)


def test_another_seed_gives_other_images(generated, tmp_path):
    make_synthetic(tmp_path, replace(TINY, seed=6), workers=1)
    images = {path.read_bytes() for path in tmp_path.rglob("*.jpg")}
    assert images.isdisjoint(path.read_bytes() for path in generated.rglob("*.jpg"))


def test_files_load_and_boxes_lie_in_their_images(generated):
    for split, count in (("train", TINY.train_images), ("gallery", TINY.gallery_images)):
        records = load_custom_json(generated / f"{split}.json")
        assert len(records) == count
        assert {record["cam_id"] for record in records} == {1, 2, 3}
        for record in records:
            image = cv2.imread(record["file_name"])
            assert image.shape == (record["height"], record["width"], 3) == (90, 120, 3)
            assert image.std() > 10
        for image in read(generated, split)["annotations"]:  # as written: before any clipping
            x, y, w, h = image["bbox"]
            assert x >= 0 and y >= 0 and w >= 1 and h >= 1 and x + w <= 120 and y + h <= 90


def test_splits_share_no_identity_and_an_image_shows_each_once(generated):
    seen = {}
    for split in ("train", "gallery"):
        pairs = [(a["image_id"], a["person_id"]) for a in read(generated, split)["annotations"]]
        known = [pair for pair in pairs if pair[1] != UNLABELED]
        assert len(known) == len(set(known))
        seen[split] = Counter(person for _, person in known)
    assert set(seen["train"]) == set(range(10)) and set(seen["gallery"]) == set(range(10, 17))
    for counts in seen.values():
        assert max(counts.values()) - min(counts.values()) <= 3


def test_every_test_identity_has_one_query_with_positives_from_another_camera(generated):
    document = read(generated, "gallery")
    assert "queries" not in read(generated, "train")
    cameras = {image["id"]: image["cam_id"] for image in document["images"]}
    seen = defaultdict(dict)
    for a in document["annotations"]:
        seen[a["person_id"]][a["image_id"]] = a["bbox"]
    assert sorted(q["person_id"] for q in document["queries"]) == list(range(10, 17))
    for query in document["queries"]:
        positives = dict(seen[query["person_id"]])
        assert positives.pop(query["image_id"]) == query["bbox"]
        assert len(positives) >= 3
        assert {cameras[image] for image in positives} - {cameras[query["image_id"]]}


def test_a_repeat_keeps_a_complete_dataset_and_replaces_another(generated, tmp_path, monkeypatch):
    folder = tmp_path / "scenes"
    make_synthetic(folder, TINY, workers=1)
    before = contents(folder)
    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "draw_scene", None)  # drawing fails
        assert not make_synthetic(folder, TINY, workers=1)
    other = replace(TINY, width=128)
    assert make_synthetic(folder, other, workers=1)
    assert {r["width"] for r in load_custom_json(folder / "train.json")} == {128}
    next(folder.rglob("*.jpg")).unlink()
    assert make_synthetic(folder, other, workers=1)
    assert make_synthetic(folder, TINY, workers=1)
    assert contents(folder) == before


@pytest.mark.parametrize("at", [0, 15])
def test_an_interrupted_run_leaves_no_dataset(at, generated, tmp_path, monkeypatch):
    calls = []
    draw_scene = synthetic.draw_scene

    def interrupted(*args, **kwargs):
        calls.append(args)
        if len(calls) > at:
            raise KeyboardInterrupt
        return draw_scene(*args, **kwargs)

    monkeypatch.setattr(synthetic, "draw_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_synthetic(tmp_path, TINY, workers=1)
    assert not list(tmp_path.rglob("*.json"))
    monkeypatch.undo()
    assert make_synthetic(tmp_path, TINY, workers=1)
    assert contents(tmp_path) == contents(generated)


def test_an_interrupted_replacement_keeps_the_old_dataset(generated, tmp_path, monkeypatch):
    make_synthetic(tmp_path, TINY, workers=1)
    monkeypatch.setattr(synthetic, "draw_scene", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_synthetic(tmp_path, replace(TINY, seed=9), workers=1)
    assert contents(tmp_path) == contents(generated)


# ----------------------------------------------------------------------------------- the scenes


# --------------------------------------------------------------------------- parameters, command


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"train_ids": 0}, "train_ids is 0; expected 1"),
        ({"width": 20}, "width is 20; expected 64"),
        ({"min_height": 500}, "min_height is 500; expected 12 to 240"),
        ({"max_height": 900}, "max_height is 900; expected 0 to 240"),
        ({"min_height": 60, "max_height": 40}, "min_height is 60; expected 12 to 40"),
        ({"min_people": 9}, "min_people is 9; expected 1 to 8"),
        ({"unlabeled_fraction": 1.0}, "unlabeled_fraction is 1.0"),
        ({"unlabeled_fraction": float("nan")}, "unlabeled_fraction is nan"),
        ({"cameras": 1}, "cameras is 1; expected 2"),
        ({"min_visible": 0.0}, "min_visible is 0.0"),
        ({"seed": -1}, "seed is -1"),
        ({"test_ids": 6}, "max_people is 8; expected at most the number of identities"),
        ({"gallery_images": 20}, "20 images for test_ids 40"),
        ({"train_images": 30}, "30 images for train_ids 120"),
    ],
)
def test_bad_parameters_name_the_accepted_values(wrong, words):
    with pytest.raises(InputError, match=words):
        SyntheticSpec(**wrong)


def test_workers_must_be_positive(tmp_path):
    with pytest.raises(InputError, match="workers is 0; expected 1 or more"):
        make_synthetic(tmp_path, TINY, workers=0)


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "train.json").write_text("mine")
    with pytest.raises(InputError, match="holds files that make_synthetic did not write"):
        make_synthetic(tmp_path, TINY, workers=1)
    assert contents(tmp_path) == {"train.json": b"mine"}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_show_every_test_identity_often_and_to_several_cameras(name):
    cameras = defaultdict(list)
    for plan in plan_scenes(PRESETS[name], "gallery"):
        for person in plan.people:
            cameras[person.person_id].append(plan.camera.cam_id)
    cameras.pop(UNLABELED)
    assert len(cameras) == PRESETS[name].test_ids
    assert min(map(len, cameras.values())) > 3
    assert min(len(set(theirs)) for theirs in cameras.values()) >= 2


@pytest.fixture(scope="module")
def tool():
    return load_tool("make_synthetic")


def test_the_command_generates_by_its_options(tool, generated, tmp_path, capsys):
    options = [
        word
        for field in fields(SyntheticSpec)
        for word in (f"--{field.name.replace('_', '-')}", str(getattr(TINY, field.name)))
    ]
    arguments = [str(tmp_path), "--workers", "1", *options]
    tool.main(arguments)
    assert "generated" in capsys.readouterr().out
    assert contents(tmp_path) == contents(generated)
    tool.main(arguments)
    assert "already complete" in capsys.readouterr().out


def test_the_command_reports_errors_in_one_line(tool, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        tool.main([str(tmp_path), "--height", "10"])
    assert "error: synthetic scenes: height is 10; expected 64" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
