"""Zip files whose bytes depend on their content only: no clock, no owner, no order of a disk."""

import zipfile
from collections.abc import Iterable
from typing import IO

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first day of the format
_STORED = (".jpg", ".webp", ".png", ".mp4", ".mkv", ".avi", ".webm", ".mov", ".ts")
_PERMISSIONS = 0o644 << 16


def write_zip(file: IO[bytes], entries: Iterable[tuple[str, bytes]]) -> None:
    """Write entries one by one.

    Args:
        file: file to write; it need not be seekable.
        entries: (name, content) of each, in the order of the file.
    """
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = _PERMISSIONS
            entry.create_system = 3  # Unix, on every system
            is_packed = name.lower().endswith(_STORED)
            entry.compress_type = zipfile.ZIP_STORED if is_packed else zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
