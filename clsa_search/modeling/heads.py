"""The re-ID heads: feature maps of each level to embeddings.

R boxes, L levels, D embedding width of a level, C channels, h x w grid of a level.
"""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from torch import nn
from torch.nn import functional as F


class CLSAHead(nn.Module):
    """The head of one level: global average pool, FC, norm, ReLU, FC.

    It computes in float32 under autocast too, because an embedding may overflow half precision.

    Args:
        in_channels: channels C of the level.
        hidden_dim: width of the first FC layer.
        embed_dim: width D of the embedding.
        norm: any norm of Detectron2's `get_norm`; "" for none.
    """

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

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Compute embeddings (R, D) from feature maps (R, C, h, w)."""
        with torch.autocast(features.device.type, enabled=False):
            hidden = self.reduce(features.mean(dim=(2, 3), keepdim=True, dtype=torch.float32))
            return self.embed(hidden.flatten(1))


class ReIDHeads(nn.ModuleDict):
    """One `CLSAHead` for each level, by its name.

    Args:
        input_shape: channels of each level, lowest level first.
        hidden_dim: see `CLSAHead`.
        embed_dim: see `CLSAHead`.
        norm: see `CLSAHead`.
    """

    @configurable
    def __init__(
        self, *, input_shape: dict[str, ShapeSpec], hidden_dim: int, embed_dim: int, norm: str
    ) -> None:
        widths = {"hidden_dim": hidden_dim, "embed_dim": embed_dim}
        super().__init__(
            {
                level: CLSAHead(in_channels=shape.channels, norm=norm, **widths)
                for level, shape in input_shape.items()
            }
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        """Return the constructor arguments for a config and the shapes of the re-ID branch."""
        head = cfg.MODEL.REID.HEAD
        return {
            "input_shape": input_shape,
            "hidden_dim": head.HIDDEN_DIM,
            "embed_dim": head.EMBED_DIM,
            "norm": head.NORM,
        }

    def forward(self, level_features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Compute {level: embeddings (R, D)} from {level: feature maps (R, C, h, w)}."""
        return {level: head(level_features[level]) for level, head in self.items()}

    @staticmethod
    def concatenate(embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Concatenate the unit embeddings of all levels to unit rows (R, L * D)."""
        levels = [F.normalize(embedding, dim=1) for embedding in embeddings.values()]
        return F.normalize(torch.cat(levels, dim=1), dim=1)
