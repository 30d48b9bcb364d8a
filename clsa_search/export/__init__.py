"""Trained models for programs without Detectron2 and without this package: TorchScript and ONNX."""

from clsa_search.export.exportable import CropEmbedder, ImagePredictor, People
from clsa_search.export.exporter import Exported, export_model

__all__ = ["CropEmbedder", "Exported", "ImagePredictor", "People", "export_model"]
