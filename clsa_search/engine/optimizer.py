"""The optimizer of a config: SGD or AdamW, with learning rates by the depth of a layer."""

from typing import Protocol, runtime_checkable

import torch
from detectron2.config import CfgNode
from detectron2.modeling import Backbone, ResNet
from detectron2.solver.build import get_default_optimizer_params, reduce_param_groups
from torch import nn
from torch.optim import Optimizer

from clsa_search.engine.clipping import clip_each_step
from clsa_search.errors import InputError

SCALES = ("layer_scale", "gamma", "logit_scale", "relative_position_bias_table", "pos_embed")
"""Parameters of ConvNeXt and transformers with the decay of norms; names of torchvision, timm."""


@runtime_checkable
class LayeredBackbone(Protocol):
    """A backbone with a depth for each of its parameters."""

    @property
    def depth(self) -> int:
        """Largest depth of a parameter."""

    def layer_depth(self, name: str) -> int:
        """Return the depth of a parameter by its name: 0 in the stem, then one more per layer."""


def build_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """Build SOLVER.OPTIMIZER with Detectron2's parameter groups, SOLVER.LAYER_DECAY and clipping.

    Raises:
        InputError: see :func:`scale_layers`.
    """
    solver = cfg.SOLVER
    groups = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        overrides={name: {"weight_decay": solver.WEIGHT_DECAY_NORM} for name in SCALES},
    )
    if solver.LAYER_DECAY != 1:
        groups = _split_groups(groups, scale_layers(model, solver.LAYER_DECAY))
    common = {"lr": solver.BASE_LR, "weight_decay": solver.WEIGHT_DECAY}
    optimizer: Optimizer  # not fused, see "What was tried" in docs/performance.md
    if solver.OPTIMIZER == "AdamW":
        optimizer = torch.optim.AdamW(groups, betas=(solver.MOMENTUM, 0.999), **common)
    else:
        optimizer = torch.optim.SGD(
            groups, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV, **common
        )
    if solver.CLIP_GRADIENTS.ENABLED:
        clip_each_step(optimizer, cfg)
    return optimizer


def scale_layers(model: nn.Module, decay: float) -> dict[nn.Parameter, float]:
    """Return the factor of the learning rate of each parameter of the model's backbones.

    It is `decay` to the power of the number of layers above; everything outside of the backbones,
    with a factor of 1, counts as one layer more. The layers of a ResNet are its stem and its
    stages. Source: Clark et al., ELECTRA (arXiv 2003.10555); Bao et al., BEiT (arXiv 2106.08254).

    Args:
        model: model with backbones of Detectron2.
        decay: factor per layer.

    Raises:
        InputError: a backbone has no layers.
    """
    factors = {}
    for backbone in _find_backbones(model, decay):
        for name, parameter in backbone.named_parameters():
            depth, largest = _find_depth(backbone, name)
            factors[parameter] = decay ** (largest + 1 - depth)
    return factors


def _find_backbones(model: nn.Module, decay: float) -> list[nn.Module]:
    """Return the backbones with layers; a feature pyramid lies around one."""
    found = [x for x in model.modules() if isinstance(x, ResNet | LayeredBackbone)]
    for backbone in model.modules():
        if isinstance(backbone, Backbone) and not any(x in found for x in backbone.modules()):
            raise InputError(
                f"SOLVER.LAYER_DECAY is {decay}, but {type(backbone).__name__} has no layers; "
                "expected 1.0, or another MODEL.BACKBONE.NAME and MODEL.REID.BACKBONE.NAME"
            )
    return found


def _find_depth(backbone: nn.Module, name: str) -> tuple[int, int]:
    """Return the depth of a parameter, and the largest depth in its backbone."""
    if isinstance(backbone, LayeredBackbone):
        return backbone.layer_depth(name), backbone.depth
    assert isinstance(backbone, ResNet)
    layers = ("stem", *backbone.stage_names)
    return layers.index(name.split(".")[0]), len(backbone.stage_names)


def _split_groups(groups: list[dict], factors: dict[nn.Parameter, float]) -> list[dict]:
    """Return parameter groups with scaled learning rates."""
    return reduce_param_groups(
        [
            {**group, "params": [parameter], "lr": group["lr"] * factors.get(parameter, 1.0)}
            for group in groups
            for parameter in group["params"]
        ]
    )
