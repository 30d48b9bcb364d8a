"""What is exported: plain tensors in and out, around a trained model.

R people, L levels, D embedding width, h x w pixels of a crop, H x W of an image.

Each describer has a `forward` that TorchScript compiles, checks and branches included, around a
`network` that can only be traced, Detectron2's code being what it is.
"""

from typing import NamedTuple

import torch
from detectron2.config import CfgNode
from torch import nn
from torch.nn import functional as F

from clsa_search.errors import InputError
from clsa_search.modeling import CropBranch, PersonSearchRCNN


class People(NamedTuple):
    """The people of one image, best first."""

    boxes: torch.Tensor  # (R, 4) XYXY in pixels of that image
    scores: torch.Tensor  # (R,) from 0 to 1
    embeddings: torch.Tensor  # (R, L * D) unit rows


class CropEmbedder(nn.Module):
    """The re-ID branch with its heads, normalization inside."""

    def __init__(self, network: nn.Module, crop_size: tuple[int, int]) -> None:
        """
        Args:
            network: crops to embeddings, as :meth:`forward`.
            crop_size: (height, width) in pixels.
        """
        super().__init__()
        self.network = network
        self.height, self.width = crop_size

    @classmethod
    def from_model(cls, model: PersonSearchRCNN, cfg: CfgNode) -> "CropEmbedder":
        """
        Raises:
            InputError: the model's re-ID branch does not see crops.
        """
        if not isinstance(model.reid_branch, CropBranch):
            raise InputError(
                f"MODEL.REID.NAME is {cfg.MODEL.REID.NAME!r}, which reads people from the "
                "detector's feature maps and sees no crops; expected 'CropBranch', or an export of "
                "the whole model"
            )
        return cls(_CropNetwork(model), tuple(cfg.MODEL.REID.CROP_SIZE)).eval()

    def example(self) -> tuple[torch.Tensor]:
        """Arguments of the network that it can be traced with."""
        return (torch.rand(2, 3, self.height, self.width) * 255,)

    def with_network(self, network: nn.Module) -> "CropEmbedder":
        return CropEmbedder(network, (self.height, self.width)).eval()

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Embeddings (R, L * D), unit rows, of crops (R, 3, h, w); R may be 0.

        Crops are raw pixel values from 0 to 255, uint8 or float, channels in the order of
        INPUT.FORMAT, of the crop size.

        Raises:
            ValueError: the crops have another shape.
        """
        if crops.dim() != 4 or list(crops.shape[1:]) != [3, self.height, self.width]:
            raise ValueError(
                f"crops have shape {list(crops.shape)}; "
                f"expected (people, 3, {self.height}, {self.width})"
            )
        return self.network(crops)


class ImagePredictor(nn.Module):
    """The whole model, resizing inside."""

    def __init__(self, network: nn.Module, min_size: int, max_size: int) -> None:
        """
        Args:
            network: a resized image (3, H, W), and height and width of the original as tensors, to
                boxes in the original, scores and embeddings.
            min_size, max_size: what the shorter side becomes, and what the longer one is held to,
                in pixels; 0 leaves images as they are.
        """
        super().__init__()
        self.network = network
        self.min_size = min_size
        self.max_size = max_size

    @classmethod
    def from_model(cls, model: PersonSearchRCNN, cfg: CfgNode) -> "ImagePredictor":
        sizes = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
        return cls(_ImageNetwork(model), *sizes).eval()

    def example(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Arguments of the network that it can be traced with."""
        image = torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8)
        return image, torch.tensor(192), torch.tensor(256)

    def with_network(self, network: nn.Module) -> "ImagePredictor":
        return ImagePredictor(network, self.min_size, self.max_size).eval()

    def forward(self, image: torch.Tensor) -> People:
        """The people of an image (3, H, W), uint8, of any size; channels as INPUT.FORMAT says.

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
        return People(boxes, scores, embeddings)


def resize_image(image: torch.Tensor, min_size: int, max_size: int) -> torch.Tensor:
    """What Detectron2's ResizeShortestEdge makes of an image (3, H, W), uint8.

    In the Python that TorchScript knows, and with torch in place of Pillow: some pixels differ by a
    level. On the CPU, because only there torch resizes bytes.
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
    def __init__(self, model: PersonSearchRCNN) -> None:
        super().__init__()
        self.branch = model.reid_branch
        self.heads = model.clsa_heads
        self.register_buffer("pixel_mean", model.pixel_mean)
        self.register_buffer("pixel_std", model.pixel_std)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return self.heads(self.branch.embed_crops((crops - self.pixel_mean) / self.pixel_std))


class _ImageNetwork(nn.Module):
    def __init__(self, model: PersonSearchRCNN) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, image: torch.Tensor, height: torch.Tensor, width: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        inputs = [{"image": image, "height": height, "width": width}]
        found = self.model.inference(inputs)[0]["instances"]
        return found.pred_boxes.tensor, found.scores, found.embeddings
