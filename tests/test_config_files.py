"""Configs are found by path or by name, from any folder."""

import pytest

from clsa_search.config_files import (
    CONFIG_DIR,
    check_weights,
    find_config,
    get_value,
    list_configs,
    read_config,
)
from clsa_search.engine import load_config
from clsa_search.errors import InputError


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["clsa_oim_R50_prw", "clsa_oim_R50_prw.yaml"])
def test_a_packaged_config_is_loaded_by_name_with_its_bases(name):
    cfg = load_config(name)
    assert cfg.MODEL.REID.CLASSIFIER == "OIMClassifier" and cfg.DATASETS.TRAIN == ("prw_train",)
    assert cfg.dump() == load_config(CONFIG_DIR / "clsa_oim_R50_prw.yaml").dump()


def test_a_path_wins_over_a_name(empty_folder):
    (empty_folder / "clsa_oim_R50_prw.yaml").write_text("SEED: 3\n")
    assert load_config("clsa_oim_R50_prw.yaml").SEED == 3
    assert load_config("clsa_oim_R50_prw").SEED != 3


@pytest.mark.parametrize("name", ["clsa_crop_R50", "configs/clsa_oim_R50_prw.yaml", "../x.yaml"])
def test_an_unknown_config_lists_the_known_names(name):
    with pytest.raises(InputError, match=f"config file {name} does not exist.*clsa_oim_R50_prw"):
        find_config(name)


def test_a_folder_is_no_config(empty_folder):
    (empty_folder / "a.yaml").mkdir()
    with pytest.raises(InputError, match="a.yaml is a folder; expected a path"):
        find_config("a.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.yaml: is empty; expected keys and values"),
        ("# nothing", "a.yaml: is empty"),
        ("- 1\n- 2", "a.yaml: holds a list"),
        ("MODEL", "a.yaml: holds a str"),
        ("MODEL: null", "a.yaml: MODEL is None; expected a value for a key of it"),
        ("MODEL: 3", "a.yaml: MODEL is 3"),
        ("MODEL:\n  1: 2", "a.yaml: there is no key MODEL.1"),
        ("? [1, 2]\n: 3", "a.yaml: .*unhashable key"),
        ("SOLVER: {STEPS: &x [*x]}", "a.yaml: SOLVER.STEPS is .*rising"),
        ("SEED: !!python/object/apply:os.getpid []", "a.yaml: could not determine a constructor"),
        ("SEED: !!python/name:os.system", "a.yaml: could not determine a constructor"),
        ("_BASE_: b.yaml", r"a.yaml: _BASE_ is 'b.yaml', but b.yaml is no file"),
        ("_BASE_: a.yaml", r"a.yaml: _BASE_ a.yaml leads back to itself \(a.yaml -> a.yaml\)"),
        ("_BASE_: [c.yaml]", r"\(a.yaml -> c.yaml -> a.yaml\); expected another file"),
        ("_BASE_: 3", "a.yaml: _BASE_ is 3; expected the path of a config file"),
        ("_BASE_: https://example.org/b.yaml", "a.yaml: _BASE_ is .* is no file"),
        ("SOLVER: {BASE_LR: -1}", "a.yaml: SOLVER.BASE_LR is -1.0; expected a number above 0"),
        ("VERSION: 3", "a.yaml: VERSION is 3; expected 2"),
        ("SEED: " + "[" * 100_000, "a.yaml: .*expected a config in YAML"),
        (b"\x89PNG\r\n\x1a\n\xff\x00", "a.yaml: .*expected a config in YAML"),
        (bytes(range(256)), "a.yaml: .*expected a config in YAML"),
    ],
)
def test_a_file_that_is_no_config_is_named(empty_folder, content, message):
    (empty_folder / "c.yaml").write_text("_BASE_: a.yaml")
    text = content if isinstance(content, bytes) else content.encode()
    (empty_folder / "a.yaml").write_bytes(text)
    with pytest.raises(InputError, match=message):
        load_config("a.yaml")


def test_a_fault_of_a_base_names_the_base(empty_folder):
    (empty_folder / "base").mkdir()
    (empty_folder / "base" / "b.yaml").write_text("SOLVER: {MAX_ITER: -5}")
    (empty_folder / "a.yaml").write_text("_BASE_: base/b.yaml\nSEED: 3")
    with pytest.raises(InputError, match="^base/b.yaml: SOLVER.MAX_ITER is -5"):
        load_config("a.yaml")


def test_later_files_win_and_values_are_found_without_building_a_config(empty_folder):
    (empty_folder / "b.yaml").write_text("SEED: 1\nMODEL: {WEIGHTS: base.pth}")
    (empty_folder / "c.yaml").write_text("\ufeffSEED: 2")
    (empty_folder / "a.yaml").write_text("_BASE_: [b.yaml, c.yaml]\nMODEL: {WEIGHTS: ''}")
    assert load_config("a.yaml").SEED == 2
    files = read_config("a.yaml")
    assert [path for path, _ in files] == ["b.yaml", "c.yaml", "a.yaml"]
    assert get_value(files, [], "MODEL.WEIGHTS", "x") == ""
    assert get_value(files, ["MODEL.WEIGHTS", "y"], "MODEL.WEIGHTS", "x") == "y"
    assert get_value(files, [], "MODEL.WEIGHTS.DEPTH", "x") == "x"


@pytest.mark.parametrize("key", ["SEED", "TEST.AUG.MIN_SIZES", "MODEL.REID.LEVELS", "MODEL.REID"])
def test_aliases_cannot_blow_up(empty_folder, key):
    rows = ["&a0 [1, 2]", *(f"&a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60))]
    *parents, name = key.split(".")
    opened = "".join(f"{parent}: {{" for parent in parents)
    (empty_folder / "a.yaml").write_text(f"{opened}{name}: [{', '.join(rows)}]{'}' * len(parents)}")
    with pytest.raises(InputError, match=f"^a.yaml: {key} is ") as error:
        load_config("a.yaml")
    assert len(str(error.value)) < 5_000


def test_missing_weights_name_the_command_that_makes_them():
    message = (
        "MODEL.WEIGHTS 'weights/r50_imagenet.pth' does not exist.*"
        "clsa-convert-weights resnet50-11ad3fa6.pth weights/r50_imagenet.pth"
    )
    with pytest.raises(InputError, match=message):
        check_weights("weights/r50_imagenet.pth")
    check_weights("")
    check_weights("https://example.org/model.pth")


def test_the_listed_names_are_those_of_complete_configs():
    assert list_configs() == sorted(
        path.stem for path in CONFIG_DIR.glob("*.yaml") if not path.stem.startswith("Base")
    )
    assert len(list_configs()) >= 10
