"""A re-ID branch that runs an ONNX file on crops; its head is `PooledHead` without a neck.

R boxes over all images, D embedding width.
"""

import hashlib
import os
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ROIAlign, ShapeSpec
from detectron2.structures import Boxes, ImageList
from torch import nn

from clsa_search.errors import InputError
from clsa_search.modeling.crop_normalization import build_crop_normalization
from clsa_search.modeling.onnx_network import ONNXNetwork
from clsa_search.modeling.regions import to_regions
from clsa_search.modeling.reid_branch import REID_BRANCH_REGISTRY, ReIDBranch

LEVEL = "onnx"
"""Name of the only level."""


@REID_BRANCH_REGISTRY.register()
class ONNXBranch(ReIDBranch):
    """A network of another project on crops of the input image; it cannot be trained.

    The checkpoint of the model holds the SHA-256 of the ONNX file. Loading it opens the file.

    Args:
        path: the ONNX file.
        output: see `ONNXNetwork`.
        device: see `ONNXNetwork`.
        crop_size: (height, width) of the crops in pixels.
        embed_dim: width D of the embedding.
        normalization: change from the detector's normalization of pixels to the network's.
    """

    is_trainable = False
    sha256: torch.Tensor

    @configurable
    def __init__(
        self,
        *,
        path: str,
        output: str = "",
        device: str = "cpu",
        crop_size: tuple[int, int],
        embed_dim: int,
        normalization: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.path, self.output, self.network_device = path, output, device
        self.embed_dim = embed_dim
        self.normalization = normalization or nn.Identity()
        self.crop = ROIAlign(crop_size, spatial_scale=1.0, sampling_ratio=0, aligned=True)
        self.network: ONNXNetwork | None = None
        self.register_buffer("sha256", torch.zeros(32, dtype=torch.uint8))

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        """Return the constructor arguments for a config; the detector's shapes are not used."""
        reid = cfg.MODEL.REID
        if list(reid.LEVELS) != [LEVEL]:
            raise InputError(f"MODEL.REID.LEVELS is {list(reid.LEVELS)}; expected ['{LEVEL}']")
        if reid.HEAD.POOL != "avg":  # a generalized mean would lose the negative numbers
            raise InputError(
                f"MODEL.REID.HEAD.POOL is {reid.HEAD.POOL!r}; expected 'avg' for the embeddings "
                "of ONNXBranch"
            )
        folder, name = os.path.split(cfg.MODEL.WEIGHTS)
        return {
            "path": os.path.join(folder, reid.ONNX.FILE or f"{os.path.splitext(name)[0]}.onnx"),
            "output": reid.ONNX.OUTPUT,
            "device": cfg.MODEL.DEVICE,
            "crop_size": tuple(reid.CROP_SIZE),
            "embed_dim": reid.HEAD.EMBED_DIM,
            "normalization": build_crop_normalization(cfg),
        }

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Return channels and stride of the only level."""
        return {LEVEL: ShapeSpec(channels=self.embed_dim, stride=1)}

    def forward(
        self, images: ImageList, features: dict[str, torch.Tensor], boxes: list[Boxes]
    ) -> dict[str, torch.Tensor]:
        """Compute {"onnx": (R, D, 1, 1)}; see `ReIDBranch`.

        Raises:
            InputError: the branch is trained, has no weights, or its network fails.
        """
        if self.training:
            raise InputError(
                "MODEL.REID.NAME is ONNXBranch, which cannot be trained; expected CropBranch"
            )
        return self.forward_crops(self.crop(images.tensor, to_regions(boxes)))

    def forward_crops(self, crops: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute {"onnx": (R, D, 1, 1)} from crops normalized as the images of the detector."""
        if not len(crops):
            return {LEVEL: crops.new_zeros(0, self.embed_dim, 1, 1)}
        if self.network is None:
            raise InputError(f"{self.path}: is not open; expected MODEL.WEIGHTS of this network")
        pixels = self.normalization(crops).float().cpu().numpy()
        rows = torch.from_numpy(self.network.embed(pixels)).to(crops.device)
        return {LEVEL: rows[:, :, None, None]}

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        if f"{prefix}sha256" in state_dict:
            self._open()

    def _open(self) -> None:
        """Open the file of the loaded SHA-256."""
        try:
            with open(self.path, "rb") as file:
                data = file.read()
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be read: {error.strerror}; expected the ONNX file of the "
                "weights, which `clsa-convert-weights` wrote beside them"
            ) from error
        if hash_onnx(data).tolist() != self.sha256.tolist():
            raise InputError(
                f"{self.path}: is another file than that of the weights; expected SHA-256 "
                f"{bytes(self.sha256.tolist()).hex()}"
            )
        network = ONNXNetwork(data, self.path, self.output, self.network_device)
        height, width = self.crop.output_size
        check_embedding(network, (height, width), self.embed_dim)
        self.network = network


def hash_onnx(data: bytes) -> torch.Tensor:
    """Return the SHA-256 of a file's content, (32,) uint8."""
    return torch.tensor(list(hashlib.sha256(data).digest()), dtype=torch.uint8)


def check_embedding(network: ONNXNetwork, crop_size: tuple[int, int], width: int | None) -> int:
    """Run a network on a black crop and return the width of its embedding.

    Args:
        network: network to run.
        crop_size: (height, width) of the crops in pixels.
        width: expected width; None for any.

    Raises:
        InputError: the network takes crops of another size, fails, or has another width.
    """
    fixed = [size in (None, own) for size, own in zip(network.crop_size, crop_size, strict=True)]
    if not all(fixed):
        height, width_ = network.crop_size
        raise InputError(
            f"{network.path}: takes crops of {height} x {width_} pixels; expected "
            f"{crop_size[0]} x {crop_size[1]} of MODEL.REID.CROP_SIZE"
        )
    found = network.embed(torch.zeros(1, 3, *crop_size).numpy()).shape[1]
    if width not in (None, found):
        raise InputError(
            f"{network.path}: its embedding has {found} numbers; expected {width} of "
            "MODEL.REID.HEAD.EMBED_DIM"
        )
    return found
