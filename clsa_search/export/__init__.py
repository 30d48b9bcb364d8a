"""Trained models for programs without Detectron2 and without this package: TorchScript and ONNX."""

from clsa_search.export.describers import CropDescriber, ImageDescriber, People
from clsa_search.export.exporter import Exported, export_model

__all__ = ["CropDescriber", "Exported", "ImageDescriber", "People", "export_model"]
