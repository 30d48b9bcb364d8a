"""CUHK-SYSU: street photographs and film stills; 2,900 searches in galleries of 50 to 4,000 images.

Xiao et al., "Joint Detection and Identification Feature Learning for Person Search", CVPR 2017.
"""

from pathlib import Path

from clsa_search.data.datasets.ssm_mat import (
    IMAGES_FILE,
    SEARCH_FOLDER,
    SearchFile,
    read_boxes,
    read_names,
    read_train,
)
from clsa_search.data.datasets.ssm_split import SearchLayout, build_columns
from clsa_search.data.records import Columns, build_records, load_columns

GALLERY_SIZES = (50, 100, 500, 1000, 2000, 4000)
_SEARCHES = {
    f"g{size}": SearchFile(SEARCH_FOLDER / f"TestG{size}.mat", f"TestG{size}")
    for size in GALLERY_SIZES
}
_SUBSETS = {  # of the same queries, in 100 images each
    "occlusion": SearchFile(Path("annotation/test/subset/Occlusion.mat"), "Occlusion1"),
    "low_resolution": SearchFile(Path("annotation/test/subset/Resolution.mat"), "Test_Size"),
}
LAYOUT = SearchLayout(
    image_folder=Path("Image/SSM"),
    pool_files=(Path("annotation/pool.mat"),),
    # every file lists the same queries and all images of their persons: the smallest will do
    query_files=(_SEARCHES["g50"],),
    gallery_files=_SEARCHES | _SUBSETS,
)
TRAIN_FILE = SEARCH_FOLDER / "Train.mat"


def load_cuhk_sysu_train(root: Path) -> list[dict]:
    """The records of the images that are not in the pool (see `load_custom_json`)."""
    (pool_file,) = LAYOUT.pool_files
    sources = [root / name for name in (IMAGES_FILE, pool_file, TRAIN_FILE, LAYOUT.image_folder)]

    def build() -> Columns:
        boxes, pool = read_boxes(root), set(read_names(root / pool_file))
        names = [name for name in boxes if name not in pool]
        identities = read_train(root / TRAIN_FILE)
        return build_columns(root / LAYOUT.image_folder, names, boxes, identities)

    return build_records(load_columns(root, "train", sources, build), root / LAYOUT.image_folder)
