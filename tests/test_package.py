"""The packages import each other in one direction, and load no more than they need."""

import ast
import json
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import clsa_search
from tests.support.tiny import ROOT

PACKAGE = ROOT / "clsa_search"


def top_level_imports(path: Path) -> set[str]:
    """Return the modules of this project that a file imports when it is imported itself."""
    found: set[str] = set()
    statements = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while statements:
        statement = statements.pop()
        if isinstance(statement, ast.Import):
            found.update(alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            found.add(statement.module or "")
        elif isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            statements.extend(statement.orelse)
        elif isinstance(statement, ast.If | ast.Try | ast.With):
            statements.extend(child for child in ast.walk(statement) if child is not statement)
    return {name for name in found if name.startswith("clsa_search.")}


def package_of(name: str) -> str:
    """Return the package below clsa_search, or the module at its top."""
    return name.split(".")[1]


def import_graph() -> dict[str, set[str]]:
    """Return the packages that each package imports."""
    graph: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        own = package_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
        imported = {package_of(name) for name in top_level_imports(path)}
        graph.setdefault(own, set()).update(imported - {own})
    return graph


def test_packages_import_each_other_in_one_direction():
    graph = import_graph()
    order = list(TopologicalSorter(graph).static_order())  # a cycle raises
    assert order.index("structures") < order.index("modeling") < order.index("engine")
    assert order.index("structures") < order.index("data") < order.index("engine")
    assert order.index("engine") < order.index("retrieval") < order.index("desk")


@pytest.mark.parametrize("package", ["evaluation", "gallery", "data"])
def test_storage_and_scores_know_no_model(package):
    assert not import_graph()[package] & {"modeling", "engine", "retrieval", "export", "desk"}


def test_only_commands_change_how_a_process_keeps_memory():
    for path in PACKAGE.rglob("*.py"):
        calls = "keep_freed_memory(" in path.read_text(encoding="utf-8")
        expected = path.parent.name == "commands" or path.name == "memory.py"
        assert expected or not calls, path


def test_the_package_knows_no_benchmarks():
    for path in PACKAGE.rglob("*.py"):
        assert "benchmarks" not in {name.split(".")[0] for name in imported_anywhere(path)}, path


def imported_anywhere(path: Path) -> set[str]:
    """Return the names of all imports of a file."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


def test_a_module_name_occurs_once():
    names = Counter(path.stem for path in PACKAGE.rglob("*.py") if path.stem != "__init__")
    names.update(path.name for path in PACKAGE.rglob("*") if (path / "__init__.py").is_file())
    assert [name for name, count in names.items() if count > 1] == []


def loaded_by(statement: str) -> set[str]:
    """Return the modules in a new process after a statement."""
    code = f"{statement}; import json, sys; print(json.dumps(list(sys.modules)))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import clsa_search", {"torch", "detectron2", "numpy"}),
        ("import clsa_search.evaluation", {"detectron2", "clsa_search.modeling"}),
        ("import clsa_search.gallery", {"detectron2", "clsa_search.modeling"}),
        ("import clsa_search.data", {"torch", "detectron2"}),
        ("from clsa_search import load_predictions", {"detectron2", "clsa_search.modeling"}),
    ],
)
def test_an_import_loads_only_what_it_needs(statement, unwanted):
    assert not loaded_by(statement) & unwanted


@pytest.mark.parametrize("package", ["clsa_search", "clsa_search.data", "clsa_search.evaluation"])
def test_every_exported_name_exists(package):
    code = f"import {package} as p; print([getattr(p, name) for name in p.__all__])"
    command = [sys.executable, "-c", code]
    subprocess.run(command, capture_output=True, check=True, cwd=ROOT)


def test_an_unknown_name_is_an_ordinary_error():
    with pytest.raises(AttributeError, match="module 'clsa_search' has no attribute 'Nothing'"):
        _ = clsa_search.Nothing


def test_a_config_knows_models_and_datasets():
    """Detectron2's registries are filled once the config keys are added."""
    code = (
        "from clsa_search import add_clsa_search_config\n"
        "from detectron2.config import get_cfg\n"
        "from detectron2.data import DatasetCatalog\n"
        "from detectron2.modeling import build_model\n"
        "cfg = get_cfg()\n"
        "add_clsa_search_config(cfg)\n"
        "cfg.MODEL.DEVICE, cfg.MODEL.REID.NUM_IDS = 'cpu', 3\n"
        "print(type(build_model(cfg)).__name__, 'prw_train' in DatasetCatalog)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["PersonSearchRCNN", "True"]


def test_the_console_scripts_are_the_commands():
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    (scripts,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMMANDS"
    )
    modules = {
        path.stem
        for path in (PACKAGE / "commands").glob("*.py")
        if "\ndef main(argv: " in path.read_text(encoding="utf-8")
    }
    assert set(scripts.values()) == modules - {"make_synthetic"}
