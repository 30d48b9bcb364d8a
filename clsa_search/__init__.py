"""Person search with Detectron2: detect people in whole scenes and find the one you look for."""

from clsa_search.config import add_clsa_search_config
from clsa_search.modeling import PersonSearchRCNN

__all__ = ["PersonSearchRCNN", "add_clsa_search_config"]
__version__ = "0.1.0"
