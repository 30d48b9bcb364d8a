"""Synthetic street scenes: a person-search dataset that needs no download.

From small to large: textures, solids, wardrobe, people and figure (one person); facades, props and
street (the place); scene (one picture); plan (who is where); dataset (the files on disk).
"""

from clsa_search.data.synthetic.dataset import make_synthetic
from clsa_search.data.synthetic.plan import PRESETS, SyntheticSpec

__all__ = ["PRESETS", "SyntheticSpec", "make_synthetic"]
