"""Config files: given by path, or by name from the configs of this package."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from clsa_search.errors import InputError

_PACKAGE = Path(__file__).parent
CONFIG_DIR = next(
    (path for path in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if path.is_dir()),
    _PACKAGE / "configs",
)
"""Folder of the packaged configs: inside an installed package, beside it in a checkout."""

_IMAGENET = "r50_imagenet.pth"
_COCO = "--detector model_final_280758.pkl --reid"
_CONVERSIONS = {
    _IMAGENET: "resnet50-11ad3fa6.pth",
    "strong_R50.pth": f"--config-file clsa_strong_R50_prw {_COCO} resnet50-11ad3fa6.pth",
    "strong_convnext_b.pth": (
        f"--config-file clsa_strong_convnext_b_prw {_COCO} convnext_base-6075fbad.pth"
    ),
    "strong_solider_swin_b.pth": (
        f"--config-file clsa_strong_solider_swin_b_prw {_COCO} checkpoint_tea.pth"
    ),
}
"""Start files of the shipped configs, and their sources for clsa-convert-weights."""

BASE_KEY = "_BASE_"
"""Key of a file's base or list of bases, relative to the folder of the file, as in Detectron2."""


def find_config(config_file: str | os.PathLike) -> str:
    """Return the path of a config file.

    Args:
        config_file: a path, or the name of a packaged config with or without ".yaml". A path wins
            over a name.

    Raises:
        InputError: there is no such file and no packaged config of that name.
    """
    path = os.fspath(config_file)
    if os.path.isfile(path):
        return path
    packaged = CONFIG_DIR / f"{path.removesuffix('.yaml')}.yaml"
    if Path(path).name == path and packaged.is_file():
        return str(packaged)
    fault = "is a folder" if os.path.isdir(path) else "does not exist"
    raise InputError(f"config file {path} {fault}; {describe_configs()}")


def describe_configs() -> str:
    """Return what a config file may be, with the names of the packaged configs."""
    names = ", ".join(list_configs()) or f"none in {CONFIG_DIR}"
    return f"expected a path or the name of a packaged config: {names}"


def list_configs() -> list[str]:
    """Return the names of the packaged configs; bases of other configs are left out."""
    names = (path.stem for path in CONFIG_DIR.glob("*.yaml"))
    return sorted(name for name in names if not name.startswith("Base-"))


def read_config(config_file: str | os.PathLike) -> list[tuple[str, dict]]:
    """Read a config file and its bases, without executable tags.

    Args:
        config_file: path or name, see :func:`find_config`.

    Returns:
        (path, nested keys and values) of each file, bases before their users.

    Raises:
        InputError: a file is missing or is no YAML of keys and values, or is its own base.
    """
    return list(_read_with_bases(find_config(config_file), ()))


def get_value(files: list[tuple[str, dict]], opts: list[str], key: str, default: Any) -> Any:
    """Return the value of a key in config files and KEY VALUE pairs, as it is written.

    Args:
        files: see :func:`read_config`.
        opts: keys and values in turn; they win over the files.
        key: full name such as "MODEL.WEIGHTS".
        default: value if neither gives one.
    """
    value = default
    for _, content in files:
        node: Any = content
        for name in key.split("."):
            node = node.get(name) if isinstance(node, Mapping) else None
        value = value if node is None else node
    return dict(zip(opts[::2], opts[1::2], strict=False)).get(key, value)


def check_weights(path: object) -> None:
    """Check that MODEL.WEIGHTS exists; addresses and "" pass.

    Raises:
        InputError: there is no such file.
    """
    if not isinstance(path, str) or not path or "://" in path or os.path.isfile(path):
        return
    fault = "is a folder" if os.path.isdir(path) else "does not exist"
    name = Path(path).name
    sources = "a detector of Detectron2's zoo and a public backbone"
    if name not in _CONVERSIONS:
        name, sources = _IMAGENET, "the ResNet-50 of torchvision"
    command = f"clsa-convert-weights {_CONVERSIONS[name]} {path}"
    raise InputError(
        f"MODEL.WEIGHTS {path!r} {fault}; expected a checkpoint, or {sources}, which this command "
        f"converts: {command}"
    )


def _read_with_bases(path: str, children: tuple[str, ...]) -> Iterator[tuple[str, dict]]:
    if any(os.path.samefile(path, child) for child in children):
        raise InputError(
            f"{children[-1]}: {BASE_KEY} {path} leads back to itself "
            f"({' -> '.join([*children, path])}); expected another file"
        )
    content = _read_yaml(path)
    bases = content.pop(BASE_KEY, [])
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str) or not base:
            raise InputError(f"{path}: {BASE_KEY} is {base!r}; expected the path of a config file")
        base_path = os.path.join(os.path.dirname(path), os.path.expanduser(base))
        if not os.path.isfile(base_path):
            raise InputError(
                f"{path}: {BASE_KEY} is {base!r}, but {base_path} is no file; expected the path of "
                f"a config file, relative to the folder of {path}"
            )
        yield from _read_with_bases(base_path, (*children, path))
    yield path, content


def _read_yaml(path: str) -> dict:
    try:
        with open(path, encoding="utf-8-sig") as file:
            content = yaml.safe_load(file)
    except Exception as error:  # the parser raises more than its own errors
        reason = " ".join(str(error).split())  # YAML's are long
        raise InputError(f"{path}: {reason}; expected a config in YAML") from error
    if not isinstance(content, dict):
        found = "is empty" if content is None else f"holds a {type(content).__name__}"
        raise InputError(f"{path}: {found}; expected keys and values, such as SEED: 1")
    return content
