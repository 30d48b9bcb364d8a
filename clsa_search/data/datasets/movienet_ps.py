"""MovieNet-PS: film frames; training sets of up to N appearances of each character, N = 10 to 100.

Qin et al., "MovieNet-PS: A Large-Scale Person Search Dataset in the Wild", ICASSP 2023.
"""

from pathlib import Path

from clsa_search.data.datasets.ssm_mat import (
    IMAGES_FILE,
    SEARCH_FOLDER,
    SearchFile,
    read_boxes,
    read_train,
)
from clsa_search.data.datasets.ssm_split import SearchLayout, build_columns
from clsa_search.data.records import Columns, build_records, load_columns

APPEARANCES = (10, 30, 50, 70, 100)
GALLERY_SIZES = (2000, 4000, 10000)
_SEARCHES = {
    f"g{size}": SearchFile(SEARCH_FOLDER / f"TestG{size}.mat", f"TestG{size}")
    for size in GALLERY_SIZES
}
LAYOUT = SearchLayout(
    image_folder=Path("Image"),
    pool_files=tuple(Path(f"annotation/pool_{size}.mat") for size in GALLERY_SIZES),
    query_files=tuple(_SEARCHES.values()),  # a larger gallery may show a person more often
    gallery_files=_SEARCHES,
)


def load_movienet_ps_train(root: Path, appearances: int) -> list[dict]:
    """The records of the images that Train_app<appearances> names (see `load_custom_json`)."""
    train_file = root / SEARCH_FOLDER / f"Train_app{appearances}.mat"
    sources = [root / IMAGES_FILE, root / LAYOUT.image_folder, train_file]

    def build() -> Columns:
        identities = read_train(train_file)
        names = dict.fromkeys(sighting.image for seen in identities for sighting in seen)
        return build_columns(root / LAYOUT.image_folder, list(names), read_boxes(root), identities)

    name = f"train_app{appearances}"
    return build_records(load_columns(root, name, sources, build), root / LAYOUT.image_folder)
