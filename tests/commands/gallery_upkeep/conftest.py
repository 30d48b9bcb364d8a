"""A gallery of three cameras, and the command clsa-search on it."""

import pytest

from clsa_search.gallery import open_store
from clsa_search.retrieval.predictor import PersonSearchPredictor
from tests.support.footage import BlockPredictor
from tests.support.search_command import INDEX
from tests.support.sighting_cases import write_footage
from tests.support.tiny import load_tool
from tests.support.tracklet_cases import link_by


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run the command in a folder with footage, with blocks as people; return what it prints."""
    tool = load_tool("search_gallery")
    monkeypatch.setattr(PersonSearchPredictor, "load", lambda *args, **options: BlockPredictor())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pth").touch()
    write_footage(tmp_path / "footage")

    def run(*words, status=None):
        if status is None:
            tool.main([str(word) for word in words])
        else:
            with pytest.raises(SystemExit) as stop:
                tool.main([str(word) for word in words])
            assert stop.value.code == status
        printed = capsys.readouterr()
        return printed.out + (printed.err.splitlines()[-1] if status == 2 else "")

    return run


@pytest.fixture
def gallery(run):
    run(*INDEX, "--camera-from", "folder", "--start-time", "2026-05-01T00:00:00Z", "footage")
    with open_store("street.db") as store:
        for path in store.unlinked():
            link_by(store, path, lambda one: int(one.embedding.argmax()))
    return "street.db"
