"""Names of exports and file formats, in a module without imports for the command line."""

EXPORT_NAMES = ("reid", "model")
"""The re-ID branch alone, or the whole model."""

FORMAT_NAMES = ("torchscript", "onnx")
