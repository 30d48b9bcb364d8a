"""Generator of synthetic street scenes: a person-search dataset without a download.

Modules, from small to large: textures, solids, wardrobe, appearance, person (one person); facades,
props, camera, street (the place); scene (one image); spec (parameters); plan (people of each
image); dataset (the files).
"""

from typing import TYPE_CHECKING

from clsa_search.data.synthetic.spec import PRESETS, SyntheticSpec
from clsa_search.lazy import lazy_exports

if TYPE_CHECKING:
    from clsa_search.data.synthetic.dataset import make_synthetic
else:
    __getattr__ = lazy_exports(__name__, {"make_synthetic": "clsa_search.data.synthetic.dataset"})

__all__ = ["PRESETS", "SyntheticSpec", "make_synthetic"]
