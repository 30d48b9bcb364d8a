"""Configs are found by path or by name, from any folder."""

import pytest

from clsa_search.config_files import CONFIG_DIR, find_config, list_configs
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


def test_the_listed_names_are_those_of_complete_configs():
    assert list_configs() == sorted(
        path.stem for path in CONFIG_DIR.glob("*.yaml") if not path.stem.startswith("Base")
    )
    assert len(list_configs()) >= 10
