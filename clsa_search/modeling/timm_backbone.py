"""Backbones of timm, an optional package: ViT, DINOv2, EVA, other ConvNeXts and many more.

N images, C channels, H x W pixels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone

from clsa_search.errors import InputError
from clsa_search.modeling.staged_backbone import STAGES, register_pyramid

_ANY_SIZE: tuple[dict[str, bool], ...] = (
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"strict_img_size": False},
    {},
)
"""Arguments that let networks take images of any size; each has at most one of them."""


class TimmBackbone(Backbone):
    """A network of timm whose outputs are called res2 to res5.

    Those of a network with stages are its last four, those of a plain transformer lie at each
    quarter of its blocks and have one stride.

    Args:
        network: network with `forward_intermediates`.
        out_features: names of the outputs in STAGES. Layers above the highest are left out.
        freeze_at: number of first parts with fixed weights: 1 the stem, 2 all up to res2.
    """

    def __init__(self, network: Any, *, out_features: Sequence[str], freeze_at: int) -> None:
        super().__init__()
        info = network.feature_info
        places = list(range(len(info)))[-len(STAGES) :]
        if len(info) > len(STAGES) + 1:
            places = [len(info) * i // len(STAGES) - 1 for i in range(1, len(STAGES) + 1)]
        outputs = dict(zip(STAGES, places, strict=True))
        self._out_features = [name for name in STAGES if name in out_features]
        self._out_feature_channels = {x: info[i]["num_chs"] for x, i in outputs.items()}
        self._out_feature_strides = {x: info[i]["reduction"] for x, i in outputs.items()}
        self.indices = [outputs[name] for name in self._out_features]
        network.prune_intermediate_layers(self.indices, prune_norm=False, prune_head=True)
        self.network: Any = network
        self._depths = _list_depths(network)
        modules = [f"{info[i]['module']}." for i in outputs.values()][: max(freeze_at - 1, 0)]
        frozen = [depth for name, depth in self._depths.items() if name.startswith((*modules,))]
        for name, value in network.named_parameters():
            if freeze_at and self._depths[name] <= max(frozen, default=0):
                value.requires_grad_(False)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute {name: (N, C, H / stride, W / stride)} from (N, 3, H, W)."""
        maps = self.network.forward_intermediates(
            images, indices=self.indices, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        return dict(zip(self._out_features, maps, strict=True))

    def layer_depth(self, name: str) -> int:
        """Return the depth of a parameter as timm counts it: 0 in the stem."""
        return self._depths[name.removeprefix("network.")]

    @property
    def depth(self) -> int:
        """Largest depth of a parameter."""
        return max(self._depths.values())


def _list_depths(network: Any) -> dict[str, int]:
    from timm.models import group_parameters

    return group_parameters(network, network.group_matcher(coarse=False), reverse=True)


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TimmBackbone:
    """Build timm's network of MODEL.TIMM, with random weights.

    Raises:
        InputError: timm is missing, or has no such network with outputs at several depths.
    """
    try:
        import timm
    except ImportError as error:
        raise InputError(
            f"TIMM.NAME {cfg.MODEL.TIMM.NAME!r} needs the package timm, and importing it "
            f"failed ({error}); run: pip install clsa_search[timm]"
        ) from error
    options, freeze_at = cfg.MODEL.TIMM, cfg.MODEL.BACKBONE.FREEZE_AT
    for arguments in _ANY_SIZE:
        try:
            network = timm.create_model(
                options.NAME, num_classes=0, drop_path_rate=options.DROP_PATH, **arguments
            )
            return TimmBackbone(network, out_features=options.OUT_FEATURES, freeze_at=freeze_at)
        except TypeError:  # an argument that the network does not have
            continue
        except Exception as error:
            raise InputError(
                f"TIMM.NAME is {options.NAME!r}: {error}; expected a network with feature "
                "maps of timm.list_models(), such as 'vit_small_patch14_dinov2'"
            ) from error
    raise InputError(f"TIMM.NAME is {options.NAME!r}, a network without drop paths")


register_pyramid(build_timm_backbone)
