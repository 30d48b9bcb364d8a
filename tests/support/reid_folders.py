"""Miniatures of datasets of crops, in their published layouts."""

import numpy as np
from PIL import Image


def write_crop(path, size=(8, 16), value=0):
    """Write a crop of one gray value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), value, np.uint8)).save(path)


def write_market(root):
    """Write a folder as Market-1501's: two training people, junk and distractors in the gallery."""
    names = {
        "bounding_box_train": ["0002_c1s1_000451_03", "0002_c2s1_000301_01", "0007_c3s3_077419_03"],
        "bounding_box_test": [
            "-1_c1s1_000401_03",
            "0000_c1s1_000151_01",
            "0001_c1s1_002301_02",
            "0001_c2s1_002301_02",
            "0003_c2s1_000001_01",
        ],
        "query": ["0001_c1s1_001051_00", "0003_c1s1_000001_00"],
    }
    for folder, stems in names.items():
        for number, stem in enumerate(stems):
            write_crop(root / folder / f"{stem}.jpg", value=40 * number)
    return root


def write_msmt17(root):
    """Write a folder as MSMT17's."""
    lists = {
        "list_train.txt": ["0000/0000_000_01_0303morning_0008_0.jpg 0"],
        "list_val.txt": ["0001/0001_004_02_0303morning_0008_0.jpg 1"],
        "list_query.txt": ["0000/0000_000_05_0303noon_0001_0.jpg 0"],
        "list_gallery.txt": ["0000/0000_001_11_0303noon_0001_0.jpg 0"],
    }
    for name, lines in lists.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("\n".join(lines) + "\n")
        folder = "train" if name in ("list_train.txt", "list_val.txt") else "test"
        for line in lines:
            write_crop(root / folder / line.split()[0])
    return root
