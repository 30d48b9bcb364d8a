"""The re-ID heads: feature maps of each level to embeddings.

R boxes, L levels, D embedding width of a level, C channels, h x w grid of a level.
"""

from typing import NamedTuple

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.utils.registry import Registry
from torch import nn
from torch.nn import functional as F

from clsa_search.errors import InputError
from clsa_search.modeling.global_pools import build_pool
from clsa_search.modeling.registries import find_class

REID_HEAD_REGISTRY = Registry("REID_HEAD")
REID_HEAD_REGISTRY.__doc__ = """
Registry of re-ID heads: subclasses of ReIDHead, built from a config and the ShapeSpec of a level. D
is MODEL.REID.HEAD.EMBED_DIM.
"""


class LevelEmbeddings(NamedTuple):
    """The embeddings of all levels, twice: before the necks of the heads and behind them.

    They are equal without a neck. People are classified and ranked by those behind the neck.

    Args:
        before_neck: {level: (R, D)}, lowest level first.
        behind_neck: as `before_neck`.
    """

    before_neck: dict[str, torch.Tensor]
    behind_neck: dict[str, torch.Tensor]


class ReIDHead(nn.Module):
    """The interface of re-ID heads.

    A head computes in float32 under autocast too, because an embedding may overflow half precision.
    """

    def compute(self, features: torch.Tensor) -> torch.Tensor:
        """Compute the embeddings before the neck, (R, D), from feature maps (R, C, h, w)."""
        raise NotImplementedError

    def apply_neck(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Compute the embeddings behind the neck, (R, D); by default there is no neck."""
        return embeddings

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Compute the embeddings behind the neck, (R, D), from feature maps (R, C, h, w)."""
        return self.apply_neck(self.compute(features))


@REID_HEAD_REGISTRY.register()
class CLSAHead(ReIDHead):
    """The head of the paper: global pool, FC, norm, ReLU, FC.

    Its neck may be a batch norm without a bias: BNNeck of Luo et al., CVPR Workshops 2019 (arXiv
    1903.07071), section 3.5.

    Args:
        in_channels: channels C of the level.
        hidden_dim: width of the first FC layer.
        embed_dim: width D of the embedding.
        norm: any norm of Detectron2's `get_norm`; "" for none.
        pool: see `build_pool`; the paper has the average.
        gem_p: see `build_pool`.
        neck: "none" as in the paper, or "bn".
    """

    @configurable
    def __init__(
        self,
        *,
        in_channels: int,
        hidden_dim: int,
        embed_dim: int,
        norm: str,
        pool: str = "avg",
        gem_p: float = 3.0,
        neck: str = "none",
    ) -> None:
        super().__init__()
        if neck not in ("none", "bn"):
            raise InputError(
                f"MODEL.REID.HEAD.NECK is {neck!r}; expected 'none' or 'bn' with "
                "MODEL.REID.HEAD.NAME CLSAHead, which has FC layers of its own"
            )
        self.pool = build_pool(pool, gem_p)
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
        self.neck = None
        if neck == "bn":
            # statistics over all processes if those of the other norm are
            self.neck = get_norm(norm if "Sync" in norm else "BN", embed_dim)
            self.neck.bias.requires_grad_(False)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        """Return the constructor arguments for a config and the shape of a level."""
        head = cfg.MODEL.REID.HEAD
        return {
            "in_channels": input_shape.channels,
            "hidden_dim": head.HIDDEN_DIM,
            "embed_dim": head.EMBED_DIM,
            "norm": head.NORM,
            "pool": head.POOL,
            "gem_p": head.GEM_P,
            "neck": head.NECK,
        }

    def compute(self, features: torch.Tensor) -> torch.Tensor:
        """Compute the embeddings before the neck; see `ReIDHead`."""
        with torch.autocast(features.device.type, enabled=False):
            return self.embed(self.reduce(self.pool(features)[:, :, None, None]).flatten(1))

    def apply_neck(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Compute the embeddings behind the neck; see `ReIDHead`."""
        if self.neck is None:
            return embeddings
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.neck(embeddings[:, :, None, None]).flatten(1)


@REID_HEAD_REGISTRY.register()
class PooledHead(ReIDHead):
    """The head of most re-ID networks: a global pool, an FC layer or none, and a neck.

    Args:
        in_channels: channels C of the level.
        embed_dim: width D of the embedding.
        pool: see `build_pool`.
        gem_p: see `build_pool`.
        neck: "none", "bn" (batch norm), "fc_bn" (FC, batch norm) or "fc_bn_relu"; D is C without
            an FC layer. The neck begins behind the FC layer.
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
        self.pool = build_pool(pool, gem_p)
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

    def compute(self, features: torch.Tensor) -> torch.Tensor:
        """Compute the embeddings before the neck; see `ReIDHead`."""
        with torch.autocast(features.device.type, enabled=False):
            pooled = self.pool(features)
            return self.neck[0](pooled) if isinstance(self.neck, nn.Sequential) else pooled

    def apply_neck(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Compute the embeddings behind the neck; see `ReIDHead`."""
        layers = self.neck[1:] if isinstance(self.neck, nn.Sequential) else self.neck
        with torch.autocast(embeddings.device.type, enabled=False):
            return layers(embeddings)


class ReIDHeads(nn.ModuleDict):
    """The head of each level, by its name.

    Args:
        heads: heads as in REID_HEAD_REGISTRY, lowest level first.
    """

    @configurable
    def __init__(self, *, heads: dict[str, ReIDHead]) -> None:
        super().__init__(heads)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        """Return the constructor arguments for a config and the shapes of the re-ID branch."""
        head = find_class(REID_HEAD_REGISTRY, cfg.MODEL.REID.HEAD.NAME, "MODEL.REID.HEAD.NAME")
        return {"heads": {level: head(cfg, shape) for level, shape in input_shape.items()}}

    def forward(self, level_features: dict[str, torch.Tensor]) -> LevelEmbeddings:
        """Compute the embeddings of {level: feature maps (R, C, h, w)}."""
        embeddings = LevelEmbeddings({}, {})
        for level, head in self.items():
            assert isinstance(head, ReIDHead)
            embeddings.before_neck[level] = rows = head.compute(level_features[level])
            embeddings.behind_neck[level] = head.apply_neck(rows)
        return embeddings

    @staticmethod
    def concatenate(embeddings: LevelEmbeddings) -> torch.Tensor:
        """Concatenate the unit embeddings of all levels behind their necks, to (R, L * D)."""
        levels = [F.normalize(embedding, dim=1) for embedding in embeddings.behind_neck.values()]
        return F.normalize(torch.cat(levels, dim=1), dim=1)


def _build_neck(name: str, in_channels: int, embed_dim: int) -> nn.Module:
    norm = nn.BatchNorm1d(embed_dim)
    if name == "fc_bn_relu":
        return nn.Sequential(nn.Linear(in_channels, embed_dim), norm, nn.ReLU())
    if name == "fc_bn":
        return nn.Sequential(nn.Linear(in_channels, embed_dim, bias=False), norm)
    return norm if name == "bn" else nn.Identity()
