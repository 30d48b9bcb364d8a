"""CUHK-SYSU: street images and film stills; 2,900 queries, galleries of 50 to 4,000 images.

Xiao et al., "Joint Detection and Identification Feature Learning for Person Search", CVPR 2017.
"""

from pathlib import Path

from clsa_search.data.datasets.ssm_mat import (
    SEARCH_FOLDER,
    Box,
    ImageBox,
    SearchFile,
    read_identities,
    read_names,
)
from clsa_search.data.datasets.ssm_split import SSMLayout, load_gallery_split, load_training_split

GALLERY_SIZES = (50, 100, 500, 1000, 2000, 4000)
_SEARCHES = {
    f"g{size}": SearchFile(SEARCH_FOLDER / f"TestG{size}.mat", f"TestG{size}")
    for size in GALLERY_SIZES
}
_SUBSETS = {  # some of the queries, with galleries of 100 images
    "occlusion": SearchFile(Path("annotation/test/subset/Occlusion.mat"), "Occlusion1"),
    "low_resolution": SearchFile(Path("annotation/test/subset/Resolution.mat"), "Test_Size"),
}
POOL_FILE = Path("annotation/pool.mat")
TRAIN_FILE = SEARCH_FOLDER / "Train.mat"
LAYOUT = SSMLayout(
    image_folder=Path("Image/SSM"),
    pool_files=(POOL_FILE,),
    # every file holds all queries and all boxes of their persons; the smallest is read fastest
    query_files=(_SEARCHES["g50"],),
    gallery_files=_SEARCHES | _SUBSETS,
)


def load_cuhk_sysu(root: Path, split: str) -> list[dict]:
    """Load the records of a split (see `load_custom_json`).

    The gallery split has the images of the pool, and the training split all others.

    Args:
        root: folder of the dataset.
        split: "train" or "gallery".
    """
    if split == "gallery":
        return load_gallery_split(root, LAYOUT)

    def read(boxes: dict[str, list[Box]]) -> tuple[list[str], list[list[ImageBox]]]:
        pool = set(read_names(root / POOL_FILE))
        names = [name for name in boxes if name not in pool]
        return names, read_identities(root / TRAIN_FILE)

    return load_training_split(root, LAYOUT, split, [root / POOL_FILE, root / TRAIN_FILE], read)
