"""The re-ID heads: feature maps of each level to embeddings.

R boxes, L levels, D embedding width of a level, C channels, h x w grid of a level.
"""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.utils.registry import Registry
from torch import nn
from torch.nn import functional as F

from clsa_search.errors import InputError
from clsa_search.modeling.registries import find_class

REID_HEAD_REGISTRY = Registry("REID_HEAD")
REID_HEAD_REGISTRY.__doc__ = """
Registry of re-ID heads: modules from the feature maps (R, C, h, w) of a level to its embeddings
(R, D), built from a config and the level's ShapeSpec. D is MODEL.REID.HEAD.EMBED_DIM.
"""


@REID_HEAD_REGISTRY.register()
class CLSAHead(nn.Module):
    """The head of the paper: global average pool, FC, norm, ReLU, FC.

    It computes in float32 under autocast too, because an embedding may overflow half precision.

    Args:
        in_channels: channels C of the level.
        hidden_dim: width of the first FC layer.
        embed_dim: width D of the embedding.
        norm: any norm of Detectron2's `get_norm`; "" for none.
    """

    @configurable
    def __init__(self, *, in_channels: int, hidden_dim: int, embed_dim: int, norm: str) -> None:
        super().__init__()
        # an FC layer as a 1 x 1 convolution, because Detectron2's norms expect feature maps
        self.reduce = Conv2d(
            in_channels,
            hidden_dim,
            kernel_size=1,
            bias=not norm,
            norm=get_norm(norm, hidden_dim),
            activation=F.relu,
        )
        self.embed = nn.Linear(hidden_dim, embed_dim)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        """Return the constructor arguments for a config and the shape of a level."""
        head = cfg.MODEL.REID.HEAD
        return {
            "in_channels": input_shape.channels,
            "hidden_dim": head.HIDDEN_DIM,
            "embed_dim": head.EMBED_DIM,
            "norm": head.NORM,
        }

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Compute embeddings (R, D) from feature maps (R, C, h, w)."""
        with torch.autocast(features.device.type, enabled=False):
            hidden = self.reduce(features.mean(dim=(2, 3), keepdim=True, dtype=torch.float32))
            return self.embed(hidden.flatten(1))


class AveragePool(nn.Module):
    """Global average pool."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Compute (R, C) from feature maps (R, C, h, w)."""
        return features.mean(dim=(2, 3))


class GeneralizedMeanPool(nn.Module):
    """Global pool by the generalized mean, with a learned exponent.

    Source: Radenovic et al., TPAMI 2018 (arXiv 1711.02512), equation 3.

    Args:
        p: exponent at the start; 1 is the average, infinity the maximum.
    """

    MIN = 1e-6
    """Smaller values are raised to this, because a power needs positive ones."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([float(p)]))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Compute (R, C) from feature maps (R, C, h, w)."""
        return features.clamp(min=self.MIN).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)


@REID_HEAD_REGISTRY.register()
class PooledHead(nn.Module):
    """The head of most re-ID networks: a global pool and a neck.

    It computes in float32 under autocast too.

    Args:
        in_channels: channels C of the level.
        embed_dim: width D of the embedding.
        pool: "avg" for the average, "gem" for `GeneralizedMeanPool`.
        gem_p: exponent of the latter at the start.
        neck: "none", "bn" (batch norm), "fc_bn" (FC, batch norm) or "fc_bn_relu"; D is C without
            an FC layer.
    """

    @configurable
    def __init__(
        self, *, in_channels: int, embed_dim: int, pool: str, gem_p: float, neck: str
    ) -> None:
        super().__init__()
        if neck in ("none", "bn") and embed_dim != in_channels:
            raise InputError(
                f"MODEL.REID.HEAD.EMBED_DIM is {embed_dim}; expected the {in_channels} channels of "
                f"the level, because MODEL.REID.HEAD.NECK is {neck!r}"
            )
        self.pool = GeneralizedMeanPool(gem_p) if pool == "gem" else AveragePool()
        self.neck = _build_neck(neck, in_channels, embed_dim)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        """Return the constructor arguments for a config and the shape of a level."""
        head = cfg.MODEL.REID.HEAD
        return {
            "in_channels": input_shape.channels,
            "embed_dim": head.EMBED_DIM,
            "pool": head.POOL,
            "gem_p": head.GEM_P,
            "neck": head.NECK,
        }

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Compute embeddings (R, D) from feature maps (R, C, h, w)."""
        with torch.autocast(features.device.type, enabled=False):
            return self.neck(self.pool(features.float()))


class ReIDHeads(nn.ModuleDict):
    """The head of each level, by its name.

    Args:
        heads: heads as in REID_HEAD_REGISTRY, lowest level first.
    """

    @configurable
    def __init__(self, *, heads: dict[str, nn.Module]) -> None:
        super().__init__(heads)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        """Return the constructor arguments for a config and the shapes of the re-ID branch."""
        head = find_class(REID_HEAD_REGISTRY, cfg.MODEL.REID.HEAD.NAME, "MODEL.REID.HEAD.NAME")
        return {"heads": {level: head(cfg, shape) for level, shape in input_shape.items()}}

    def forward(self, level_features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Compute {level: embeddings (R, D)} from {level: feature maps (R, C, h, w)}."""
        return {level: head(level_features[level]) for level, head in self.items()}

    @staticmethod
    def concatenate(embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Concatenate the unit embeddings of all levels to unit rows (R, L * D)."""
        levels = [F.normalize(embedding, dim=1) for embedding in embeddings.values()]
        return F.normalize(torch.cat(levels, dim=1), dim=1)


def _build_neck(name: str, in_channels: int, embed_dim: int) -> nn.Module:
    norm = nn.BatchNorm1d(embed_dim)
    if name == "fc_bn_relu":
        return nn.Sequential(nn.Linear(in_channels, embed_dim), norm, nn.ReLU())
    if name == "fc_bn":
        return nn.Sequential(nn.Linear(in_channels, embed_dim, bias=False), norm)
    return norm if name == "bn" else nn.Identity()
