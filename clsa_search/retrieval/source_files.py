"""Images and videos on disk: find them by name, describe their states."""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from clsa_search.argument_checks import resolve_path
from clsa_search.data.image_io import IMAGE_SUFFIXES
from clsa_search.errors import InputError

VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .asf .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .vob .webm "
    ".wmv".split()
)
_MEDIA_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES
_EXPECTED = f"a folder of images and videos, or one of {', '.join(sorted(_MEDIA_SUFFIXES))}"
FILE_STATE = re.compile(r"\d+ bytes of -?\d+")
"""Text of `describe_file`; it opens the fingerprint of a source."""
_SHOWN = 10  # suffixes named in a message


class MediaFiles(NamedTuple):
    """Media files below some paths, each once.

    Args:
        images: real paths of images, without links.
        videos: real paths of videos, without links.
        others: numbers of other files in the folders, by suffix in lower case.
        problems: (path, reason) of folders that are unreadable or hold no media file.
    """

    images: list[str]
    videos: list[str]
    others: Counter[str]
    problems: list[tuple[str, str]]


def list_media(paths: Sequence[str | os.PathLike]) -> MediaFiles:
    """List the given files and all images and videos in the given folders.

    Folders are searched with their subfolders, in the order of names. Hidden files are left out,
    links are followed. The name that was found tells the kind of a file, also of a link.

    Raises:
        InputError: a path does not exist, a given file has an unknown suffix, or the folders hold
            no media file at all.
    """
    media = MediaFiles([], [], Counter(), [])
    for path in map(os.path.abspath, paths):
        if _is_folder(path):
            _list_folder(path, media)
        elif _suffix(path) in _MEDIA_SUFFIXES:
            _add_files([path], media)
        else:
            raise InputError(f"{path}: suffix {_suffix(path)!r}; expected {_EXPECTED}")
    if media.problems and not media.images and not media.videos:
        raise InputError("; ".join(reason for _, reason in media.problems))
    return media._replace(
        images=list(dict.fromkeys(media.images)), videos=list(dict.fromkeys(media.videos))
    )


def format_suffixes(counts: Counter[str]) -> str:
    """Return numbers of files by suffix as text, the most frequent first: "3 .heic, 1 .txt"."""
    texts = [f"{count:,} {suffix or 'without suffix'}" for suffix, count in counts.most_common()]
    more = [f"{len(texts) - _SHOWN:,} other suffixes"] if len(texts) > _SHOWN else []
    return ", ".join(texts[:_SHOWN] + more)


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


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError) as error:  # the latter: no name of a file
        reason = getattr(error, "strerror", error)
        raise InputError(f"{path}: {reason}; expected {_EXPECTED}") from error


def _list_folder(folder: str, media: MediaFiles) -> None:
    """Add the files of a folder to `media`."""
    num_problems = len(media.problems)
    files = list(_walk(folder, media.problems))
    others = Counter(s for s in map(_suffix, files) if s not in _MEDIA_SUFFIXES)
    _add_files(files, media)
    media.others.update(others)
    if others.total() == len(files) and num_problems == len(media.problems):
        passed_over = f", but {format_suffixes(others)}" if others else ""
        reason = f"{folder}: holds no image and no video{passed_over}; expected {_EXPECTED}"
        media.problems.append((folder, reason))


def _add_files(paths: Sequence[str], media: MediaFiles) -> None:
    for suffixes, files in ((IMAGE_SUFFIXES, media.images), (VIDEO_SUFFIXES, media.videos)):
        files.extend(_follow_links(path) for path in paths if _suffix(path) in suffixes)


def _follow_links(path: str) -> str:
    """Return the real path of a file; a link to nowhere keeps its name."""
    real_path = resolve_path(path)
    return real_path if real_path == path or os.path.exists(real_path) else path


def _walk(folder: str, problems: list[tuple[str, str]]) -> Iterator[str]:
    """Yield the files of a folder and its subfolders; append unreadable folders to `problems`."""

    def note(error: OSError) -> None:
        problems.append((error.filename, f"{error.filename}: {error.strerror}"))

    seen = set()
    for parent, folders, files in os.walk(folder, onerror=note, followlinks=True):
        real_path = resolve_path(parent)
        if real_path in seen:  # a link back
            folders.clear()
            continue
        seen.add(real_path)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(parent, name) for name in sorted(files) if name[0] != ".")
