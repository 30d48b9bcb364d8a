"""All crops of a dataset in one file: cut once, then read without decoding an image.

N crops, h x w crop size of the model.
"""

import hashlib
import itertools
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from clsa_search.atomic_io import replace_file
from clsa_search.data.cache import CACHE_FOLDER, user_folder
from clsa_search.data.crop_mapper import CropMapper
from clsa_search.data.image_io import THREADS, read_image
from clsa_search.errors import InputError

_GROUPS = 64  # files that are read ahead

logger = logging.getLogger(__name__)


def load_crops(records: Sequence[dict], mapper: CropMapper) -> np.ndarray:
    """Return the pixels of all crops, memory-mapped from a cache beside the images.

    The cache is valid as long as files, boxes and crop size stay the same. It lies in the user's
    cache folder if that of the images cannot be written.

    Args:
        records: records of crops.
        mapper: cuts the crops.

    Returns:
        (N, h, w, 3) uint8, in the order of the records.

    Raises:
        InputError: an image is missing or unreadable, or no folder has space for the cache.
    """
    folder = Path(os.path.commonpath([os.path.dirname(r["file_name"]) or "." for r in records]))
    name = f"crops_{_digest(records, mapper)}.npy"
    shape = len(records), *mapper.crop_size, 3
    paths = [folder / CACHE_FOLDER / name, user_folder(folder) / name]
    for path in paths:
        if (crops := _open(path, shape)) is not None:
            return crops
    faults = []
    for path in paths:
        try:
            _write(path, records, mapper, shape)
        except OSError as error:
            logger.info("%s: cannot write the cache: %s", path, error)
            faults.append(f"{path.parent}: {error.strerror}")
        else:
            return np.load(path, mmap_mode="r")
    size = f"{int(np.prod(shape)) / 2**20:,.0f} MiB"
    raise InputError(f"the crops need {size} in a cache; {'; '.join(faults)}; expected space there")


def _digest(records: Sequence[dict], mapper: CropMapper) -> str:
    digest = hashlib.sha256(f"{mapper.crop_size} {mapper.image_format}".encode())
    for path, group in itertools.groupby(records, key=lambda record: record["file_name"]):
        try:
            status = os.stat(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        crops = [record.get("crop") for record in group]
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns} {crops}".encode())
    return digest.hexdigest()[:24]


def _open(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    try:
        crops = np.load(path, mmap_mode="r")
    except Exception:  # a damaged header raises more than ValueError
        return None
    return crops if crops.shape == shape and crops.dtype == np.uint8 else None


def _write(path: Path, records: Sequence[dict], mapper: CropMapper, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    groups = [list(g) for _, g in itertools.groupby(records, key=lambda r: r["file_name"])]

    def cut(group: list[dict]) -> list[bytes]:
        image = read_image(group[0]["file_name"], "RGB")  # once for all of its crops
        return [np.ascontiguousarray(mapper.cut(image, record)).tobytes() for record in group]

    with replace_file(path) as file, ThreadPoolExecutor(THREADS) as pool:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(groups), _GROUPS):
            for crops in pool.map(cut, groups[start : start + _GROUPS]):
                file.writelines(crops)
