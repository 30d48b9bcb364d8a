"""Export of trained models to files that need neither Detectron2 nor this package."""

from typing import TYPE_CHECKING

from clsa_search.lazy import lazy_exports

if TYPE_CHECKING:
    from clsa_search.export.exportable import CropEmbedder, DetectionTensors, ImagePredictor
    from clsa_search.export.exporter import ExportReport, export_model
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "CropEmbedder": "clsa_search.export.exportable",
            "DetectionTensors": "clsa_search.export.exportable",
            "ExportReport": "clsa_search.export.exporter",
            "ImagePredictor": "clsa_search.export.exportable",
            "export_model": "clsa_search.export.exporter",
        },
    )

__all__ = [
    "CropEmbedder",
    "DetectionTensors",
    "ExportReport",
    "ImagePredictor",
    "export_model",
]
