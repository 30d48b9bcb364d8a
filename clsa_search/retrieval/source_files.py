"""Images and videos on disk: find them by name, describe their states."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from clsa_search.data.image_io import IMAGE_SUFFIXES
from clsa_search.errors import InputError

VIDEO_SUFFIXES = frozenset(".avi .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ts .webm .wmv".split())


class MediaFiles(NamedTuple):
    """Media files below some paths, each once.

    Args:
        images: absolute paths of images.
        videos: absolute paths of videos.
        num_others: number of other files.
        problems: (path, reason) of unreadable folders.
    """

    images: list[str]
    videos: list[str]
    num_others: int
    problems: list[tuple[str, str]]


def list_media(paths: Sequence[str | os.PathLike]) -> MediaFiles:
    """List the given files and all images and videos in the given folders.

    Folders are searched with their subfolders, in the order of names. Hidden files are left out,
    links are followed.

    Raises:
        InputError: a path does not exist, or a given file has an unknown suffix.
    """
    images: dict[str, None] = {}
    videos: dict[str, None] = {}
    problems: list[tuple[str, str]] = []
    num_others = 0
    for path in paths:
        path = os.path.abspath(path)
        try:
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)
        except OSError as error:
            raise InputError(
                f"{path}: {error.strerror}; expected an image, a video or a folder"
            ) from error
        for file in _walk(path, problems) if is_folder else [path]:
            suffix = Path(file).suffix.lower()
            if suffix in IMAGE_SUFFIXES:
                images[file] = None
            elif suffix in VIDEO_SUFFIXES:
                videos[file] = None
            elif is_folder:
                num_others += 1
            else:
                expected = ", ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
                raise InputError(
                    f"{file}: suffix {suffix!r}; expected a folder or one of {expected}"
                )
    return MediaFiles(list(images), list(videos), num_others, problems)


def describe_file(path: str) -> str:
    """Return the size and the modification time of a file; they differ after a change.

    Raises:
        InputError: the file cannot be reached, or is not a regular file.
    """
    try:
        state = os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected an image or a video") from error
    if not stat.S_ISREG(state.st_mode):
        raise InputError(f"{path}: is not a regular file; expected an image or a video")
    return f"{state.st_size} bytes of {state.st_mtime_ns}"


def _walk(folder: str, problems: list[tuple[str, str]]) -> Iterator[str]:
    """Yield the files of a folder and its subfolders; append unreadable folders to `problems`."""

    def note(error: OSError) -> None:
        problems.append((error.filename, f"{error.filename}: {error.strerror}"))

    seen = set()
    for parent, folders, files in os.walk(folder, onerror=note, followlinks=True):
        real_path = os.path.realpath(parent)
        if real_path in seen:  # a link back
            folders.clear()
            continue
        seen.add(real_path)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(parent, name) for name in sorted(files) if name[0] != ".")
