"""Person search with Detectron2: detect people in whole scenes and find the one you look for."""

__version__ = "0.1.0"
