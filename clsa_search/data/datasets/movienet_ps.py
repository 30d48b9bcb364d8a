"""MovieNet-PS: film frames; training sets with up to N boxes of each character, N from 10 to 100.

Qin et al., "MovieNet-PS: A Large-Scale Person Search Dataset in the Wild", ICASSP 2023.
"""

from pathlib import Path

from clsa_search.data.datasets.ssm_mat import (
    SEARCH_FOLDER,
    Box,
    ImageBox,
    SearchFile,
    read_identities,
)
from clsa_search.data.datasets.ssm_split import SSMLayout, load_gallery_split, load_training_split

APPEARANCES = (10, 30, 50, 70, 100)
GALLERY_SIZES = (2000, 4000, 10000)
TRAINING_SPLITS = tuple(f"app{count}" for count in APPEARANCES)
_SEARCHES = {
    f"g{size}": SearchFile(SEARCH_FOLDER / f"TestG{size}.mat", f"TestG{size}")
    for size in GALLERY_SIZES
}
LAYOUT = SSMLayout(
    image_folder=Path("Image"),
    pool_files=tuple(Path(f"annotation/pool_{size}.mat") for size in GALLERY_SIZES),
    query_files=tuple(_SEARCHES.values()),  # a larger gallery may hold more boxes of a person
    gallery_files=_SEARCHES,
)


def load_movienet_ps(root: Path, split: str) -> list[dict]:
    """Load the records of a split (see `load_custom_json`).

    A training split has the images named in its file.

    Args:
        root: folder of the dataset.
        split: "gallery" or one of TRAINING_SPLITS.
    """
    if split == "gallery":
        return load_gallery_split(root, LAYOUT)
    train_file = root / SEARCH_FOLDER / f"Train_{split}.mat"

    def read(_: dict[str, list[Box]]) -> tuple[list[str], list[list[ImageBox]]]:
        identities = read_identities(train_file)
        names = dict.fromkeys(box.image for boxes in identities for box in boxes)
        return list(names), identities

    return load_training_split(root, LAYOUT, f"train_{split}", [train_file], read)
