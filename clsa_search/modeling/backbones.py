"""A backbone for re-ID levels that are the detector's own."""

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, build_resnet_backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool


class StagesFPN(FPN):
    """Detectron2's FPN that hands out the stages of its backbone beside the pyramid."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """(N, 3, H, W) to {"res2": ..., "p2": ..., ...}, each (N, C, H / stride, W / stride)."""
        stages = {}
        # FPN's forward computes them and keeps them to itself
        watch = self.bottom_up.register_forward_hook(lambda module, args, out: stages.update(out))
        try:
            pyramid = super().forward(x)
        finally:
            watch.remove()
        return {**stages, **pyramid}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {**self.bottom_up.output_shape(), **super().output_shape()}


@BACKBONE_REGISTRY.register()
def build_resnet_stages_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> StagesFPN:
    """As Detectron2's build_resnet_fpn_backbone, with the same names of parameters."""
    return StagesFPN(
        bottom_up=build_resnet_backbone(cfg, input_shape),
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
