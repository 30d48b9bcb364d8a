"""JSON files of annotation tools in every command that reads one."""

import argparse
import json

import pytest

from clsa_search import engine
from clsa_search.commands import check_dataset, eval_search, train_net
from clsa_search.data import get_records
from tests.support.tiny import make_split

pytestmark = pytest.mark.usefixtures("forget_new_names")


@pytest.fixture
def cvat(tmp_path):
    """A file as CVAT exports it, in another folder than its images: `(file, folder)`."""
    document = json.loads(
        make_split(tmp_path / "images", "own", images=6, queries=False).read_text()
    )
    document["categories"] = [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}]
    for annotation in document["annotations"]:
        person_id = annotation.pop("person_id")
        annotation["attributes"] = {"track_id": person_id} if person_id >= 0 else {}
    path = tmp_path / "labels" / "cvat.json"
    path.parent.mkdir()
    path.write_text(json.dumps(document), encoding="utf-8-sig")
    return path, tmp_path / "images"


def run(capsys, main, *arguments):
    """Return exit status, output and errors of a command."""
    try:
        main([str(argument) for argument in arguments])
        status = 0
    except SystemExit as end:
        status = end.code
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_a_file_of_cvat_is_checked_and_gets_queries(cvat, tmp_path, capsys):
    path, images = cvat
    check = check_dataset.main
    status, _, errors = run(capsys, check, path)
    assert status == 2 and "--category takes one of several: 'person'" in errors
    status, _, errors = run(capsys, check, path, "--category", "person")
    assert status == 2 and "--id-field attributes.track_id takes this one" in errors
    options = ["--category", "person", "--id-field", "attributes.track_id"]
    status, output, _ = run(capsys, check, path, *options)
    assert status == 1 and "fault: 6 of 6 images are missing (--image-root names" in output
    options += ["--image-root", images]
    copy = tmp_path / "gallery.json"
    status, output, _ = run(capsys, check, path, *options, "--make-queries", copy)
    assert status == 0 and f"{copy}: 2 queries" in output
    assert ["labeled", "11"] in [line.split() for line in output.splitlines()]
    assert sum(len(record.get("queries", [])) for record in get_records(str(copy))) == 2


def test_options_for_other_datasets_are_refused(capsys):
    arguments = ("prw_gallery", "--id-field", "track_id", "--image-root", ".")
    status, _, errors = run(capsys, check_dataset.main, *arguments)
    assert status == 2
    assert "prw_gallery: is no .json file; expected one with --image-root, --id-field" in errors
    status, _, errors = run(capsys, check_dataset.main, "none.json")
    assert status == 2 and "none.json: cannot be read: No such file" in errors
    status, _, errors = run(capsys, check_dataset.main, "prw_gallery", "--make-queries", "a.json")
    assert status == 2 and "--make-queries: expected two .json files" in errors


def test_an_evaluation_without_queries_is_refused_before_the_model(tmp_path, capsys):
    path = make_split(tmp_path, "own", images=4, queries=False)
    (tmp_path / "weights.pth").write_bytes(b"never read")
    model = ["--config-file", "clsa_small_synthetic_demo", "--weights", tmp_path / "weights.pth"]
    output = tmp_path / "out"
    arguments = [*model, "--dataset", path, "--output-dir", output]
    status, _, errors = run(capsys, eval_search.main, *arguments)
    assert status == 2 and f"{path}: no queries to search for; expected 'queries'" in errors
    assert "clsa-check-dataset with --make-queries" in errors and not output.exists()


def test_an_evaluation_without_images_is_refused_before_the_model(cvat, tmp_path, capsys):
    path, images = cvat
    options = ["--category", "person", "--id-field", "attributes.track_id"]
    copy = path.with_name("gallery.json")
    arguments = (path, *options, "--image-root", images, "--make-queries", copy)
    run(capsys, check_dataset.main, *arguments)
    (tmp_path / "weights.pth").write_bytes(b"never read")
    model = ["--config-file", "clsa_small_synthetic_demo", "--weights", tmp_path / "weights.pth"]
    (images / "own_1.png").unlink()
    arguments = [*model, "--dataset", copy, "--output-dir", tmp_path / "out"]
    status, _, errors = run(capsys, eval_search.main, *arguments)
    assert status == 2 and "own_1.png: no such file" in errors
    for image in images.iterdir():
        image.unlink(missing_ok=True)
    status, _, errors = run(capsys, eval_search.main, *arguments)
    assert status == 2 and "6 of 6 images are missing" in errors


def test_a_training_reads_the_file_with_the_options(cvat, tmp_path):
    path, images = cvat
    parser = train_net.build_parser()
    arguments = ["--image-root", str(images), "--id-field", "attributes.track_id"]
    arguments += ["--category", "1", "DATASETS.TRAIN", f"('{path}',)", "DATASETS.TEST", "()"]
    arguments += ["OUTPUT_DIR", str(tmp_path / "out"), "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""]
    args = parser.parse_args(arguments)
    args.opts = train_net.list_config_options(args) + args.opts
    args = argparse.Namespace(**vars(args) | {"config_file": "clsa_small_synthetic_demo"})
    cfg = engine.setup(args)
    assert cfg.MODEL.REID.NUM_IDS == 3 and cfg.DATASETS.CATEGORY == "1"
    assert get_records(str(path))[0]["file_name"] == str(images / "own_0.png")


def test_a_training_with_a_test_set_without_queries_or_images_is_refused(tmp_path):
    train = make_split(tmp_path, "train", images=4, queries=False)
    test = make_split(tmp_path, "test", images=4, queries=False)
    names = ["DATASETS.TRAIN", f"('{train}',)", "DATASETS.TEST", f"('{test}',)"]
    options = {"config_file": "clsa_small_synthetic_demo", "eval_only": False}
    options["opts"] = [*names, "OUTPUT_DIR", str(tmp_path / "out"), "MODEL.WEIGHTS", ""]
    with pytest.raises(ValueError, match="test.json: no queries to search for"):
        engine.setup(argparse.Namespace(**options))
    make_split(tmp_path, "test", images=4, queries=True)
    (tmp_path / "train_1.png").unlink()
    with pytest.raises(ValueError, match="train_1.png: no such file"):
        engine.setup(argparse.Namespace(**options))
    assert not (tmp_path / "out").exists()
