"""All kinds of bad inputs, with their share of the trials."""

from typing import NamedTuple

from tests.fuzz import array_files, command_lines, desk_requests, label_files, media_files
from tests.fuzz.harness import Kind


class Share(NamedTuple):
    """A kind and its weight: cheap trials and code that many users feed get more of them."""

    kind: Kind
    weight: int


KINDS = {
    "images": Share(media_files.images, 20),
    "videos": Share(media_files.videos, 4),
    "custom JSON": Share(label_files.custom_json, 20),
    "JSON of annotation tools": Share(label_files.tool_json, 10),
    "published datasets": Share(label_files.published_datasets, 4),
    "MOTChallenge folders": Share(label_files.tracks, 6),
    "configs": Share(label_files.configs, 6),
    "metrics": Share(label_files.metrics, 6),
    "predictions": Share(array_files.predictions, 10),
    "checkpoints": Share(array_files.checkpoints, 8),
    "galleries": Share(array_files.galleries, 8),
    "command lines": Share(command_lines.command_lines, 10),
    "desk requests": Share(desk_requests.desk_requests, 8),
}


def count_trials(total: int) -> dict[str, int]:
    """Return the number of trials of each kind, at least one."""
    weights = sum(share.weight for share in KINDS.values())
    return {name: max(1, -(-total * share.weight // weights)) for name, share in KINDS.items()}
