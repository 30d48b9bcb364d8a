"""Modules to export: plain tensors in and out, around a trained model.

Shape letters: R detections or crops, L levels, D embedding width, h x w a crop, H x W an image.

Each module has a `forward` for `torch.jit.script`, with its checks and branches, and a `network`
for `torch.jit.trace`, because Detectron2's own code cannot be scripted.
"""

from typing import NamedTuple

import torch
from detectron2.config import CfgNode
from torch import nn
from torch.nn import functional as F

from clsa_search.errors import InputError
from clsa_search.modeling import CropBranch, PersonSearchRCNN


class DetectionTensors(NamedTuple):
    """Detections of one image as tensors, most confident first.

    Attributes:
        boxes: (R, 4) XYXY in pixels of the image.
        scores: (R,) from 0 to 1.
        embeddings: (R, L * D) rows of unit length.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    embeddings: torch.Tensor


class CropEmbedder(nn.Module):
    """The re-ID branch with its heads and the normalization of pixels.

    Args:
        network: module from crops to embeddings, with the shapes of `forward`.
        crop_size: height and width in pixels.
    """

    def __init__(self, network: nn.Module, crop_size: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        self.height, self.width = crop_size

    @classmethod
    def from_model(cls, model: PersonSearchRCNN, cfg: CfgNode) -> "CropEmbedder":
        """Wrap the re-ID branch of a trained model.

        Raises:
            InputError: the re-ID branch does not take crops.
        """
        branch = model.reid_branch
        if not isinstance(branch, CropBranch):
            raise InputError(
                f"MODEL.REID.NAME is {cfg.MODEL.REID.NAME!r}, a branch that takes feature maps of "
                "the detector and no crops; expected 'CropBranch', or an export of the whole model"
            )
        height, width = cfg.MODEL.REID.CROP_SIZE
        return cls(_CropNetwork(model, branch), (height, width)).eval()

    def example(self) -> tuple[torch.Tensor]:
        """Return arguments of the network to trace it with."""
        return (torch.rand(2, 3, self.height, self.width) * 255,)

    def with_network(self, network: nn.Module) -> "CropEmbedder":
        """Return the same module around another network."""
        return CropEmbedder(network, (self.height, self.width)).eval()

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Embed crops.

        Args:
            crops: (R, 3, h, w) raw pixel values from 0 to 255, uint8 or float, channels in the
                order of INPUT.FORMAT; R may be 0.

        Returns:
            (R, L * D) embeddings, rows of unit length.

        Raises:
            ValueError: the crops have another shape.
        """
        if crops.dim() != 4 or list(crops.shape[1:]) != [3, self.height, self.width]:
            raise ValueError(
                f"crops have shape {list(crops.shape)}; "
                f"expected (crops, 3, {self.height}, {self.width})"
            )
        return self.network(crops)


class ImagePredictor(nn.Module):
    """The whole model with the resizing of images.

    Args:
        network: module from a resized image (3, H, W) and height and width of the original image
            as tensors to boxes in the original image, scores and embeddings.
        min_size: length of the shorter side after resizing, pixels; 0 keeps the size of images.
        max_size: limit of the longer side after resizing, pixels.
    """

    def __init__(self, network: nn.Module, min_size: int, max_size: int) -> None:
        super().__init__()
        self.network = network
        self.min_size = min_size
        self.max_size = max_size

    @classmethod
    def from_model(cls, model: PersonSearchRCNN, cfg: CfgNode) -> "ImagePredictor":
        """Wrap a trained model."""
        sizes = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
        return cls(_ImageNetwork(model), *sizes).eval()

    def example(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return arguments of the network to trace it with."""
        image = torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8)
        return image, torch.tensor(192), torch.tensor(256)

    def with_network(self, network: nn.Module) -> "ImagePredictor":
        """Return the same module around another network."""
        return ImagePredictor(network, self.min_size, self.max_size).eval()

    def forward(self, image: torch.Tensor) -> DetectionTensors:
        """Detect and embed all people of an image.

        Args:
            image: (3, H, W) uint8 of any size, channels in the order of INPUT.FORMAT.

        Raises:
            ValueError: the image has another shape or type.
        """
        if image.dim() != 3 or image.shape[0] != 3 or image.numel() == 0:
            raise ValueError(f"the image has shape {list(image.shape)}; expected (3, H, W)")
        if image.dtype != torch.uint8:
            raise ValueError("the image is not of uint8; expected pixel values from 0 to 255")
        resized = resize_image(image, self.min_size, self.max_size)
        original = torch.tensor(image.shape[1]), torch.tensor(image.shape[2])
        boxes, scores, embeddings = self.network(resized, original[0], original[1])
        return DetectionTensors(boxes, scores, embeddings)


Exportable = CropEmbedder | ImagePredictor


def resize_image(image: torch.Tensor, min_size: int, max_size: int) -> torch.Tensor:
    """Resize an image (3, H, W) uint8 as Detectron2's ResizeShortestEdge does.

    TorchScript has no Pillow: torch resizes instead, and some pixels differ by one level. The work
    runs on the CPU, the only device with resizing of bytes in torch.
    """
    height, width = image.shape[1], image.shape[2]
    if min_size == 0:
        return image
    scale = min_size / min(height, width)
    sides = [scale * height, scale * width]
    if max(sides) > max_size:
        shrink = max_size / max(sides)
        sides = [shrink * side for side in sides]
    size = [max(1, int(side + 0.5)) for side in sides]
    if size == [height, width]:
        return image
    return F.interpolate(image[None].cpu(), size, mode="bilinear", antialias=True)[0]


class _CropNetwork(nn.Module):
    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor

    def __init__(self, model: PersonSearchRCNN, branch: CropBranch) -> None:
        super().__init__()
        self.branch = branch
        self.heads = model.reid_heads
        self.register_buffer("pixel_mean", model.pixel_mean)
        self.register_buffer("pixel_std", model.pixel_std)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        levels = self.branch.forward_crops((crops - self.pixel_mean) / self.pixel_std)
        return self.heads.concatenate(self.heads(levels))


class _ImageNetwork(nn.Module):
    def __init__(self, model: PersonSearchRCNN) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, image: torch.Tensor, height: torch.Tensor, width: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        inputs = [{"image": image, "height": height, "width": width}]
        instances = self.model.inference(inputs)[0]["instances"]
        return instances.pred_boxes.tensor, instances.scores, instances.embeddings
