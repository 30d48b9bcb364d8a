"""Bad values: of JSON documents, of texts and of arguments."""

import copy
import random
from typing import Any

from tests.support.corruption import corrupt

NUMBERS = [0, -1, 1, 2**31, 2**63, -(2**63), 2**70, 10**400, 0.5, -0.0, 1e-320, 1e308, 1e9]
NUMBERS += [float("nan"), float("inf"), float("-inf")]
TEXTS = ["", " ", "x", "\0", "\ud800", "ü\u202e", "a/b", "../..", "/", "~", "-", "--", "%s{}"]
TEXTS += ["nan", "inf", "-1", "0", "1e999", "9" * 400, "x" * 5000, "\x1b[2J\n", "NULL", "true"]
TEXTS += ["1,2,3", "0,0,1e9,1e9", "nan,nan,nan,nan", "5,5,1,1", "1;2", "[[[[", "http://[", "::"]
TEXTS += ["2026-05-01T12:00:30", "9999-99-99", "1:2:3:4", "0000-01-01", "²", "٣", "1_000"]
VALUES: list[Any] = [None, True, False, [], {}, [[]], {"a": []}, [None], *NUMBERS, *TEXTS]


def mutate(document: Any, chance: random.Random) -> Any:
    """Return a copy of a JSON value with one to three nodes replaced, removed or repeated."""
    changed = copy.deepcopy(document)
    for _ in range(chance.randint(1, 3)):
        changed = _mutate_once(changed, chance)
    return changed


def damage(content: bytes, chance: random.Random) -> bytes:
    """Return a damaged copy of a file."""
    return corrupt(content, chance.getrandbits(32))


def _mutate_once(node: Any, chance: random.Random) -> Any:
    is_leaf = not isinstance(node, dict | list) or not node
    if is_leaf or chance.random() < 0.02:
        return nest(chance) if chance.random() < 0.05 else copy.deepcopy(chance.choice(VALUES))
    key = chance.choice(list(node)) if isinstance(node, dict) else chance.randrange(len(node))
    action = chance.random()
    if action < 0.05:
        del node[key]
    elif action < 0.1 and isinstance(node, list):
        node.append(node[key])
    elif action < 0.1:
        node[chance.choice(TEXTS)] = node.pop(key)
    else:
        node[key] = _mutate_once(node[key], chance)
    return node


def nest(chance: random.Random) -> list:
    """Return a deeply nested list."""
    value: list = []
    for _ in range(chance.choice((10, 200))):
        value = [value]
    return value
