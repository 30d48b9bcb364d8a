"""Identities and the category of persons in JSON files of annotation tools.

CVAT writes an identity as `attributes.track_id`, other tools as `track_id`, and all of them export
every category of a project.
"""

import re
from collections import Counter, defaultdict
from typing import Any

import numpy as np

from clsa_search.data.datasets.json_reader import Section, get_field, is_integer
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED
from clsa_search.wording import count_noun

PERSON_ID = "person_id"
_LARGEST_ID = 2**63
_LOWEST_ID = -2  # PRW and tools made for it write -2 for an unknown identity
_USUAL_FIELDS = (  # of identities, in lower case without spaces, underscores and hyphens
    *("personid", "pid", "identity", "identityid", "reid", "trackid", "trackingid", "track"),
    *("instanceid", "objectid", "globalid"),
)


def read_person_ids(annotations: Section, queries: Section, field: str) -> list[np.ndarray]:
    """Return the (n,) int64 person ids of annotations and of queries.

    Args:
        annotations: boxes with or without an identity.
        queries: boxes with an identity, in the same field, or in `person_id` if annotations have
            that too or integers.
        field: name of the field; "attributes.track_id" is `track_id` in `attributes`. `person_id`
            holds integers. Any other field may also hold texts; then all are numbered in order.

    Raises:
        InputError: a value is not an identity, or no annotation has the field but some have another
            one of identities.
    """
    in_field = any(get_field(entry, field) is not None for entry in queries.entries)
    if queries.entries and not in_field and any(PERSON_ID in a for a in annotations.entries):
        field = PERSON_ID  # queries made for a file of another tool
    _check_field(annotations, field)
    check, kind = _is_label, "an integer or a text"
    if field == PERSON_ID:
        check, kind = _is_person_id, "an integer"
    values = annotations.column(
        field,
        check,
        f"{kind}, at least 0, or -1 (or no such field) for an unknown identity",
        default=None,
    )
    labels = [_to_label(value) for value in values]
    in_field |= any(isinstance(label, str) for label in labels)
    wanted = queries.column(
        field if in_field else PERSON_ID,
        lambda value: check(value) and _to_label(value) is not None,
        f"the person to find, {kind} at least 0",
    )
    return _number([labels, [_to_label(value) for value in wanted]])


def choose_category(categories: Section, annotations: Section, wanted: str | None) -> int | str:
    """Return the id of the category of persons.

    Args:
        categories: categories of the file.
        annotations: boxes of all categories.
        wanted: name or id of the category; None if there is only one. Of several with the name, the
            one with boxes is taken.

    Raises:
        InputError: there is no such category, or more than one.
    """
    ids = categories.unique_ids()
    names = {entry["id"]: str(entry.get("name", entry["id"])) for entry in categories.entries}
    boxes = Counter(str(entry.get("category_id")) for entry in annotations.entries)
    found = ids
    if wanted is not None:
        found = [i for i in ids if wanted == str(i) or wanted.casefold() == names[i].casefold()]
        if len(found) > 1:
            found = [i for i in found if boxes[str(i)]]
    if len(found) == 1:
        return found[0]
    listed = "; ".join(
        f"{names[i]!r} (id {i}, {count_noun(boxes[str(i)], 'box', 'boxes')})" for i in ids
    )
    number = count_noun(len(found), "entry", "entries")
    if wanted is None:
        advice = f"; --category takes one of several: {listed}" if listed else ""
        raise InputError(
            f"{categories.path}: 'categories' has {number}; expected one, the person{advice}"
        )
    raise InputError(
        f"{categories.path}: 'categories' has {number} for category {wanted!r}; "
        f"expected the name or id of one: {listed or 'there is none'}"
    )


def _check_field(section: Section, field: str) -> None:
    """Check that an entry has the field of identities, or that there are no identities at all."""
    if any(get_field(entry, field) is not None for entry in section.entries):
        return
    found = _find_fields(section)
    where = f"{section.path}: no entry of {section.name!r} has {field!r}"
    if found:
        values = count_noun(len(found[0][1]), "different value")
        raise InputError(
            f"{where}, but {found[0][0]!r} has {values}; expected the field of the identities: "
            f"--id-field {found[0][0]} takes this one"
        )
    if field != PERSON_ID and section.entries:
        raise InputError(f"{where}; expected the field of the identities")


def _find_fields(section: Section) -> list[tuple[str, set]]:
    """Return the fields that look like identities with their values, the likeliest first."""
    values: dict[str, set] = defaultdict(set)
    for entry in section.entries:
        for name, value in entry.items():
            inner = value.items() if isinstance(value, dict) else ()
            for field, label in ((name, value), *((f"{name}.{key}", v) for key, v in inner)):
                if _rank(field) is not None and _is_label(label) and _to_label(label) is not None:
                    values[field].add(_to_label(label))
    return sorted(values.items(), key=lambda item: (_rank(item[0]), item[0]))


def _rank(field: str) -> int | None:
    """Return the rank of a field among those of identities, None for any other field."""
    outer, _, inner = field.rpartition(".")
    name = re.sub(r"[\s_-]", "", inner.casefold())
    if outer and name == "id":
        return len(_USUAL_FIELDS)
    return _USUAL_FIELDS.index(name) if name in _USUAL_FIELDS else None


def _is_person_id(value: Any) -> bool:
    return is_integer(value) and _LOWEST_ID <= value < _LARGEST_ID


def _is_label(value: Any) -> bool:
    if isinstance(value, float):
        return value.is_integer() and _is_person_id(int(value))
    return isinstance(value, str) or _is_person_id(value)


def _to_label(value: Any) -> int | str | None:
    """Return an identity as an integer or a text, None if it is not known."""
    if isinstance(value, str):
        value = value.strip()
        if re.fullmatch(r"-?[0-9]{1,18}", value):
            value = int(value)
    if value is None or value == "" or (not isinstance(value, str) and value < 0):
        return None
    return value if isinstance(value, str) else int(value)


def _number(columns: list[list[int | str | None]]) -> list[np.ndarray]:
    """Return labels as integers: texts and integers together are numbered in order."""
    known = {label for column in columns for label in column if label is not None}
    numbers: dict[Any, int] = {label: label for label in known if isinstance(label, int)}
    if len(numbers) < len(known):
        order = sorted(known, key=lambda label: (isinstance(label, str), label))
        numbers = {label: number for number, label in enumerate(order)}
    numbers[None] = UNLABELED
    return [np.array([numbers[label] for label in column], dtype=np.int64) for column in columns]
