"""The detector's backbone, for re-ID levels that share it.

N images, C channels, H x W pixels.
"""

from collections.abc import Sequence
from threading import get_ident

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import FPN, Backbone

from clsa_search.errors import InputError


def feature_shapes(backbone: Backbone) -> dict[str, ShapeSpec]:
    """Return the shapes of a backbone's outputs and of the stages below its feature pyramid."""
    stages = backbone.bottom_up.output_shape() if isinstance(backbone, FPN) else {}
    return {**stages, **backbone.output_shape()}


def lacking_output(cfg: CfgNode, error: KeyError) -> Exception:
    """Return what to raise for a KeyError while a detector is built.

    It is an InputError if RPN or ROI heads read an output that the backbone lacks.
    """
    name = error.args[0] if error.args else None
    for key in ("FPN", "RPN", "ROI_HEADS"):
        if name in (names := list(cfg.MODEL[key].IN_FEATURES)):
            return InputError(
                f"MODEL.{key}.IN_FEATURES is {names}, but MODEL.BACKBONE.NAME "
                f"{cfg.MODEL.BACKBONE.NAME} has no output {name!r}; expected outputs of this "
                "backbone, or one with a feature pyramid, such as build_resnet_fpn_backbone"
            )
    return error


def compute_features(
    backbone: Backbone, images: torch.Tensor, names: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Run a backbone on normalized images.

    Args:
        backbone: backbone of the detector.
        images: (N, 3, H, W).
        names: feature maps that are needed beside the backbone's outputs; see `feature_shapes`.

    Returns:
        {name: (N, C, H / stride, W / stride)}.
    """
    hidden = set(names) - set(backbone.output_shape())
    if not hidden:
        return backbone(images)
    stages: dict[str, torch.Tensor] = {}
    thread = get_ident()

    def keep(module: object, args: object, outputs: dict[str, torch.Tensor]) -> None:
        if get_ident() == thread:  # the hook also sees the images of other threads
            stages.update((name, outputs[name]) for name in hidden)

    hook = backbone.bottom_up.register_forward_hook(keep)  # FPN returns the pyramid only
    try:
        pyramid = backbone(images)
    finally:
        hook.remove()
    return {**stages, **pyramid}
