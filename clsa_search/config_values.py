"""Set keys of a config to values of a YAML file or of the command line."""

import difflib
from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode

from clsa_search.errors import InputError
from clsa_search.wording import show_value

_TYPES = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    tuple: "a list",
}


def set_nested(cfg: CfgNode, content: Mapping) -> None:
    """Set the keys of nested mappings, as in a YAML file.

    Raises:
        InputError: a key does not exist, or a value does not have the type of its key.
    """
    for key, value in _flatten(content, cfg):
        set_value(cfg, key, value)


def set_pairs(cfg: CfgNode, opts: Sequence) -> None:
    """Set the keys of KEY VALUE pairs, as on a command line.

    Raises:
        InputError: a key does not exist, or a value is missing or does not have its type.
    """
    if len(opts) % 2:
        raise InputError(f"{opts[-1]} has no value; expected pairs of a key and its value")
    for key, value in zip(opts[::2], opts[1::2], strict=True):
        set_value(cfg, str(key), value)


def set_value(cfg: CfgNode, key: str, value: Any) -> None:
    """Set one key; a text is read as a Python literal where the key needs one.

    Raises:
        InputError: the key does not exist, or the value does not have the type of the old value.
    """
    *parents, name = key.split(".")
    node: Any = cfg
    for parent in parents:
        node = node.get(parent) if isinstance(node, CfgNode) else None
    if not isinstance(node, CfgNode) or name not in node:
        raise InputError(f"there is no key {key[:200]}{_suggest(cfg, key)}")
    if isinstance(node[name], CfgNode):
        raise InputError(
            f"{key} is {show_value(value)}; expected a value for a key of it, such as "
            f"{key}.{next(iter(node[name]), 'NAME')}"
        )
    node[name] = _convert(value, node[name], key)


def list_values(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the full name and the value of every key."""
    for name, value in node.items():
        if isinstance(value, CfgNode):
            yield from list_values(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _flatten(content: Mapping, node: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    # follows the keys of the config, so that aliases of a YAML file cannot blow up
    for name, value in content.items():
        child = node.get(name)
        if isinstance(child, CfgNode) and isinstance(value, Mapping):
            yield from _flatten(value, child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _convert(raw: Any, old: Any, key: str) -> Any:
    value = _read_literal(raw)
    if isinstance(old, str) and isinstance(raw, str) and not isinstance(value, str):
        value = raw  # a folder may be named 2024
    if type(old) is float and type(value) is int:
        value = float(value)
    if isinstance(old, list | tuple) and isinstance(value, list | tuple):
        value = type(old)(value)
    if old is not None and type(value) is not type(old):
        example = f", such as {old!r}" if old or isinstance(old, int | float) else ""
        raise InputError(f"{key} is {show_value(value)}; expected {_TYPES[type(old)]}{example}")
    return value


def _read_literal(raw: Any) -> Any:
    if not isinstance(raw, str):
        return raw
    try:
        return literal_eval(raw)
    except Exception:  # nested or long texts raise more than SyntaxError and ValueError
        return raw


def _suggest(cfg: CfgNode, key: str) -> str:
    names = {name.lower(): name for name, _ in list_values(cfg)}
    close = difflib.get_close_matches(key.lower(), names, n=1)
    return f"; did you mean {names[close[0]]}?" if close else "; expected a key of the config"
