"""Names of public networks that the converter knows, but cannot take in a role."""

from collections.abc import Iterable

_MARKS = {
    "reid_heads.": "a checkpoint of this package",
    "labeled_matching_layer.": "AlignPS, a person search network of mmdetection",
    "roi_heads.embedding_head.": "SeqNet, NAE or COAT, a complete person search network",
    "roi_heads.box_predictor.0.": "a Cascade R-CNN of Detectron2",
    "roi_heads.res5.": "a Faster R-CNN of Detectron2 without a pyramid (C4)",
    "backbone.res5.": "a detector of Detectron2 without a pyramid (DC5)",
    "head.cls_subnet.": "a RetinaNet or FCOS of Detectron2",
    "head.classification_head.": "a RetinaNet, FCOS or SSD of torchvision",
    "backbone.body.0.0.": "a MobileNet detector of torchvision",
    "roi_head.bbox_head.": "a two-stage detector of mmdetection",
    "bbox_head.": "a one-stage detector of mmdetection",
    "transformer.encoder.": "a DETR",
    "backbone.bottom_up.": "a part of a detector of Detectron2",
    "layer1.0.conv1.": "a ResNet alone",
    "res2.0.conv1.": "a ResNet alone",
    "blocks.0.attn.": "a vision transformer",
}


def name_network(names: Iterable[str]) -> str | None:
    """Return the network with these names of tensors, for a message; None if unknown."""
    names = [f".{name}" for name in names]
    for mark, network in _MARKS.items():
        if any(f".{mark}" in name for name in names):
            return network
    return None
