"""Image ids of a dataset's records as text, and their queries as arrays.

Shape letters: Q queries.
"""

from collections.abc import Sequence

import numpy as np

from clsa_search.errors import InputError


def image_key(record: dict) -> str:
    """Return the image id of a record as text, as predictions hold it."""
    return str(record["image_id"])


def check_queries(dataset_name: str, records: Sequence[dict]) -> None:
    """Check that there is something to search for.

    Raises:
        InputError: no record has a query.
    """
    if any(record.get("queries") for record in records):
        return
    advice = "a gallery split, not a training split"
    if dataset_name.endswith(".json"):
        advice = (
            "'queries' in the file; clsa-check-dataset with --make-queries OUT.json "
            "writes a copy with them"
        )
    raise InputError(f"{dataset_name}: no queries to search for; expected {advice}")


def flatten_queries(records: Sequence[dict]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (Q,) query ids in ascending order, (Q,) positions of their images, (Q,) person ids."""
    queries = sorted(
        (query["query_id"], image, query["person_id"])
        for image, record in enumerate(records)
        for query in record.get("queries", [])
    )
    ids, images, person_ids = np.array(queries, dtype=np.int64).reshape(-1, 3).T
    return ids, images, person_ids


def query_boxes(records: Sequence[dict]) -> dict[int, list[float]]:
    """Return the XYXY box of each query id."""
    return {
        query["query_id"]: query["bbox"]
        for record in records
        for query in record.get("queries", [])
    }
