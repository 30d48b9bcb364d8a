"""The command clsa-search in an empty folder with footage, with blocks as people."""

import pytest

from clsa_search.retrieval.predictor import PersonSearchPredictor
from tests.support.footage import BlockPredictor, write_image, write_video
from tests.support.tiny import load_tool


@pytest.fixture
def tool():
    return load_tool("search_gallery")


@pytest.fixture
def run(tool, capsys, monkeypatch, tmp_path):
    """Run the command in an empty folder, with blocks as people; return its output."""
    monkeypatch.setattr(PersonSearchPredictor, "load", lambda *args, **options: BlockPredictor())
    monkeypatch.chdir(tmp_path)

    def run(*argv, status=None):
        words = [str(word) for word in argv]
        if status is None:
            tool.main(words)
        else:
            with pytest.raises(SystemExit) as stop:
                tool.main(words)
            assert stop.value.code == status
        return capsys.readouterr().out

    return run


@pytest.fixture
def footage(tmp_path):
    """Color 0 in two images, color 3 moving through a video of two seconds."""
    folder = tmp_path / "footage"
    write_image(folder / "one.png", {0: 10, 1: 50})
    write_image(folder / "two.png", {0: 70})
    write_video(folder / "door.avi", [{3: 2 * i, 1: 80} for i in range(20)])
    (tmp_path / "weights.pth").touch()
    return folder


@pytest.fixture
def gallery(run, footage):
    run("index", "--weights", "weights.pth", "--store", "street.db", "--rate", 2, footage)
    return "street.db"
